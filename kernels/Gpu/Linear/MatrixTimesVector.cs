using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Linear;

/// <summary>
/// A linear layer for one row, or a few: <c>y_n = Σ_k x_k · w_nk</c>. One group computes 4 features of one row: each thread
/// multiplies every 64th quad of k for all four, then the partial sums are added in shared memory (1.25 KiB), in an order that
/// does not depend on the device. Weights are read once for each row, in 16-byte (f32) or 8-byte (f16, bf16) accesses that
/// neighbouring threads make next to each other; with a single row the kernel runs at the speed of memory.
/// </summary>
internal static class MatrixTimesVector
{
    /// <summary>Features a group.</summary>
    public const int Features = 4;

    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>The kernel; groups of one row next to each other.</summary>
    public static void LinearRowDots<TWeight, TWeightStorage>(LinearParameters<TWeight> p)
        where TWeight : unmanaged where TWeightStorage : struct, IStorage<TWeight>
    {
        ArrayView<float> partial = SharedMemory.Allocate<float>(Features * Threads);
        ArrayView<float> sums = SharedMemory.Allocate<float>(Features * Features);
        int thread = Group.IdxX;
        int blocks = (p.OutputSize + Features - 1) / Features;
        int row = Grid.IdxX / blocks, feature = Grid.IdxX % blocks * Features;

        // Past the last feature the last one is computed again and not stored.
        long last = p.OutputSize - 1;
        long input = row * p.Input.RowStride;
        long weight0 = feature * p.Weight.RowStride;
        long weight1 = (feature + 1 < last ? feature + 1 : last) * p.Weight.RowStride;
        long weight2 = (feature + 2 < last ? feature + 2 : last) * p.Weight.RowStride;
        long weight3 = (feature + 3 < last ? feature + 3 : last) * p.Weight.RowStride;
        float sum0 = 0f, sum1 = 0f, sum2 = 0f, sum3 = 0f;
        for (int k = 4 * thread; k < p.InputSize; k += 4 * Threads)
        {
            int valid = p.InputSize - k;
            Float4 x = Quads.Load<float, Float32Storage>(p.Input.Data, input + k, valid, p.Input.HasQuads);
            Float4 a = Quads.Load<TWeight, TWeightStorage>(p.Weight.Data, weight0 + k, valid, p.Weight.HasQuads);
            Float4 b = Quads.Load<TWeight, TWeightStorage>(p.Weight.Data, weight1 + k, valid, p.Weight.HasQuads);
            Float4 c = Quads.Load<TWeight, TWeightStorage>(p.Weight.Data, weight2 + k, valid, p.Weight.HasQuads);
            Float4 d = Quads.Load<TWeight, TWeightStorage>(p.Weight.Data, weight3 + k, valid, p.Weight.HasQuads);
            sum0 += Float4.Dot(x, a);
            sum1 += Float4.Dot(x, b);
            sum2 += Float4.Dot(x, c);
            sum3 += Float4.Dot(x, d);
        }
        partial[thread] = sum0;
        partial[Threads + thread] = sum1;
        partial[2 * Threads + thread] = sum2;
        partial[3 * Threads + thread] = sum3;
        Group.Barrier();

        // 64 partial sums of each feature become 4, then 1.
        if (thread < Features * Features)
        {
            float sum = 0f;
            for (int i = 0; i < Threads / Features; i++)
                sum += partial[thread / Features * Threads + thread % Features + i * Features];
            sums[thread] = sum;
        }
        Group.Barrier();
        if (thread < Features && feature + thread < p.OutputSize)
        {
            int first = thread * Features;
            p.Output.Data[row * p.Output.RowStride + feature + thread] = sums[first] + sums[first + 1] + (sums[first + 2] + sums[first + 3]);
        }
    }
}
