using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>
/// Reductions over a group of <see cref="Threads"/> threads through shared memory, in an order that does not depend on the
/// device's warps. Every thread of the group must call, and every thread gets the result. Two barriers suffice also when one
/// reduction follows another: the parts that slow threads still read are written only behind the next one's first barrier.
/// </summary>
internal static class GroupReduce
{
    /// <summary>Threads of the group.</summary>
    public const int Threads = 128;

    private const int Parts = 16;

    /// <summary>Elements of the scratch view.</summary>
    public const int ScratchSize = Threads + Parts;

    /// <summary>The sum of all threads' values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(ArrayView<float> scratch, float value)
    {
        int thread = Group.IdxX;
        scratch[thread] = value;
        Group.Barrier();
        if (thread < Parts)
        {
            float part = 0f;
            for (int i = thread; i < Threads; i += Parts)
                part += scratch[i];
            scratch[Threads + thread] = part;
        }
        Group.Barrier();
        float sum = 0f;
        for (int i = 0; i < Parts; i++)
            sum += scratch[Threads + i];
        return sum;
    }

    /// <summary>The largest of all threads' values; a NaN is passed over.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Max(ArrayView<float> scratch, float value)
    {
        int thread = Group.IdxX;
        scratch[thread] = value;
        Group.Barrier();
        if (thread < Parts)
        {
            float part = float.NegativeInfinity;
            for (int i = thread; i < Threads; i += Parts)
                part = scratch[i] > part ? scratch[i] : part;
            scratch[Threads + thread] = part;
        }
        Group.Barrier();
        float max = float.NegativeInfinity;
        for (int i = 0; i < Parts; i++)
            max = scratch[Threads + i] > max ? scratch[Threads + i] : max;
        return max;
    }
}
