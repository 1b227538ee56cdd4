using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// What the kernels that follow need of all positions: the list of those that count, and what the reduction divides by (Σ u·w_y
/// and Σ u for the mean, infinite when nothing counts so that quotients are 0), and the weight of all classes. One group of 128
/// threads, each with one stretch of positions, adds in an order that does not depend on the device.
/// </summary>
internal static class PositionSums
{
    /// <summary>Shared memory of the group.</summary>
    public const int SharedBytes = 4 * (GroupReduce.ScratchSize + GroupReduce.Threads);

    /// <summary>The kernel; one group.</summary>
    public static void CrossEntropyPositionSums(LossParameters p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        ArrayView<int> counts = SharedMemory.Allocate<int>(GroupReduce.Threads);
        int thread = Group.IdxX;
        long stretch = ((long)p.Positions + GroupReduce.Threads - 1) / GroupReduce.Threads;
        long last = (thread + 1) * stretch;
        int first = (int)(thread * stretch < p.Positions ? thread * stretch : p.Positions);
        int end = (int)(last < p.Positions ? last : p.Positions);
        int count = 0;
        float weighted = 0f, total = 0f, classes = 0f;
        for (int k = first; k < end; k++)
        {
            int target = p.Target(k);
            if (target != p.IgnoreIndex)
            {
                float weight = p.TokenWeight(k);
                count++;
                weighted += weight * p.ClassWeight(target);
                total += weight;
            }
        }
        if (p.HasClassWeights != 0 && p.LabelSmoothing > 0f)
        {
            for (int v = thread; v < p.Classes; v += GroupReduce.Threads)
                classes += p.ClassWeights[v];
        }
        counts[thread] = count;
        weighted = GroupReduce.Sum(scratch, weighted);
        total = GroupReduce.Sum(scratch, total);
        classes = GroupReduce.Sum(scratch, classes);

        int at = 0, all = 0;
        for (int i = 0; i < GroupReduce.Threads; i++)
        {
            at += i < thread ? counts[i] : 0;
            all += counts[i];
        }
        for (int k = first; k < end; k++)
        {
            if (p.Target(k) != p.IgnoreIndex)
            {
                p.Counted[at] = k;
                at++;
            }
        }
        if (thread == 0)
        {
            float nothing = p.IsEmptyNaN != 0 ? float.NaN : float.PositiveInfinity, divisor = 1f;
            if (p.HasDivisor != 0)
                divisor = p.Divisor[0];
            p.Count[0] = all;
            p.Sums[0] = p.IsMean == 0 ? divisor : weighted == 0f ? nothing : weighted;
            p.Sums[1] = p.IsMean == 0 ? divisor : total == 0f ? nothing : total;
            p.Sums[2] = p.HasClassWeights != 0 ? classes : p.Classes;
        }
    }
}
