using ILGPU;
using KernelEngine.Kernels.Gpu.Layers;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="Embedding"/>.</summary>
internal sealed class EmbeddingRows() : GpuKernel<EmbeddingProblem>("embedding/ilgpu")
{
    private readonly GpuEntry<Embedding.Parameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<Embedding.Parameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<Embedding.Parameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16];

    /// <inheritdoc/>
    public override void Launch(in EmbeddingProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.TableType == DataType.Float32)
            Launch(_float32, problem, operands, device);
        else
            Launch(problem.TableType == DataType.Float16 ? _float16 : _bfloat16, problem, operands, device);
    }

    private static void Launch<T>(
        GpuEntry<Embedding.Parameters<T>> entry, in EmbeddingProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device) where T : unmanaged
    {
        int blocks = (int)(((long)problem.Size + Embedding.Block - 1) / Embedding.Block);
        device.Launch(entry, (long)problem.Tokens * blocks, new Embedding.Parameters<T>
        {
            Tokens = operands[EmbeddingProblem.TokenIds].As<int>(),
            Table = operands[EmbeddingProblem.Table].AsMatrix<T>(),
            Output = operands[EmbeddingProblem.Output].AsMatrix<float>(),
            VocabSize = problem.VocabSize,
            Size = problem.Size,
            BlocksPerRow = blocks,
        });
    }

    private static GpuEntry<Embedding.Parameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(Embedding.EmbeddingRows<T, TStorage>, GroupReduce.Threads, 0);
}
