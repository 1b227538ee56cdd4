using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>What a thread of a group learns about everybody's numbers.</summary>
internal struct ScanResult
{
    /// <summary>The sum of the numbers of the threads before.</summary>
    public int Before;

    /// <summary>The sum of all numbers.</summary>
    public int Total;
}

/// <summary>
/// Prefix sums over a group of <see cref="Threads"/> threads through shared memory, without warps. Every thread of the group must call;
/// the scratch memory may be used again at once.
/// </summary>
internal static class GroupScan
{
    /// <summary>Threads of the group.</summary>
    public const int Threads = 128;

    private const int Parts = 16, PartSize = Threads / Parts;

    /// <summary>Elements of the scratch view.</summary>
    public const int ScratchSize = Threads + Parts;

    /// <summary>The sums of all threads' values, and of those before this one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ScanResult Sum(ArrayView<int> scratch, int value)
    {
        int thread = Group.IdxX;
        scratch[thread] = value;
        Group.Barrier();
        if (thread < Parts)
        {
            int sum = 0;
            for (int i = 0; i < PartSize; i++)
                sum += scratch[thread * PartSize + i];
            scratch[Threads + thread] = sum;
        }
        Group.Barrier();
        var result = new ScanResult();
        int part = thread / PartSize;
        for (int i = 0; i < Parts; i++)
        {
            int sum = scratch[Threads + i];
            result.Before += i < part ? sum : 0;
            result.Total += sum;
        }
        for (int i = part * PartSize; i < thread; i++)
            result.Before += scratch[i];
        Group.Barrier();
        return result;
    }
}
