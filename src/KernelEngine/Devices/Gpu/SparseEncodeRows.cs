using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;
using KernelEngine.Kernels.Gpu.SparseAttention;

namespace KernelEngine;

/// <summary>Launches <see cref="EncodeRows"/>.</summary>
internal sealed class SparseEncodeRows() : GpuKernel<SparseEncodeProblem>("sparse-encode/ilgpu")
{
    private readonly GpuEntry<EncodeRows.Parameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<EncodeRows.Parameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<EncodeRows.Parameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16];

    /// <inheritdoc/>
    public override void Launch(in SparseEncodeProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Type == DataType.Float32)
            Launch(_float32, problem, operands, device);
        else
            Launch(problem.Type == DataType.Float16 ? _float16 : _bfloat16, problem, operands, device);
    }

    private static void Launch<T>(
        GpuEntry<EncodeRows.Parameters<T>> entry, in SparseEncodeProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        where T : unmanaged
    {
        int words = (int)operands[SparseEncodeProblem.Codes].Layout[3];
        long count = (long)problem.BatchSize * problem.NumHeads * problem.Tokens * words;
        device.Launch(entry, (count + EncodeRows.Threads - 1) / EncodeRows.Threads, new EncodeRows.Parameters<T>
        {
            Rows = operands[SparseEncodeProblem.Rows].AsTokens<T>(),
            Codebook = operands[SparseEncodeProblem.Codebook].AsTokens<float>(),
            Codes = operands[SparseEncodeProblem.Codes].AsTokens<int>(),
            Count = count,
            Tokens = problem.Tokens,
            NumHeads = problem.NumHeads,
            HeadDim = problem.HeadDim,
            SubVectors = problem.SubVectors,
            SubVectorSize = problem.SubVectorSize,
            Words = words,
            IsEuclidean = problem.IsEuclidean ? 1 : 0,
            AllBits = -1,
        });
    }

    private static GpuEntry<EncodeRows.Parameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(EncodeRows.Encode<T, TStorage>, EncodeRows.Threads, 0, hasQuadLoads: false);
}
