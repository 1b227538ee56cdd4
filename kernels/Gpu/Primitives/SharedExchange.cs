using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>
/// Threads of a group pass numbers round through shared memory, barrier after barrier: what every tiled kernel relies on, and
/// what ILGPU's barrier for OpenCL promises by its letter for global memory only. Round k turns thread t's number v into
/// <c>3 · (number of thread (t + k + 1) mod n) + v + k</c>, in 32-bit arithmetic.
/// </summary>
internal static class SharedExchange
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public ArrayView<int> Values;  // [groups, Threads], in place
        public int Rounds;
    }

    /// <summary>The kernel; groups do not meet.</summary>
    public static void ExchangeThroughSharedMemory(Parameters p)
    {
        ArrayView<int> slots = SharedMemory.Allocate<int>(Threads);
        long index = (long)Grid.IdxX * Threads + Group.IdxX;
        int value = p.Values[index];
        for (int round = 0; round < p.Rounds; round++)
        {
            slots[Group.IdxX] = value;
            Group.Barrier();
            value = 3 * slots[(Group.IdxX + round + 1) % Threads] + value + round;
            Group.Barrier();
        }
        p.Values[index] = value;
    }
}
