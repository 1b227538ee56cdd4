using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="LogSumExpMma"/>.</summary>
internal sealed class CrossEntropyMma() : CrossEntropyOnTensorCores("cross-entropy-forward/cuda-mma", PtxTarget.Sm80)
{
    private readonly TensorCoreEntries<LogSumExpMma.Parameters> _entries = new(Entry<TensorCoreFloat16>(), Entry<TensorCoreBFloat16>());

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _entries.All];

    /// <inheritdoc/>
    protected override void LaunchStates(
        in GpuView hidden, in GpuView classifier, long groups, GpuDevice device, in LogSumExpTile.Parameters tile) =>
        device.Launch(_entries.For(hidden.Type), groups, new LogSumExpMma.Parameters
        {
            Hidden = hidden.AsMatrixAddress(),
            Classifier = classifier.AsMatrixAddress(),
            Tile = tile,
        });

    private static CudaEntry<LogSumExpMma.Parameters> Entry<TElement>() where TElement : struct, ITensorCoreElement =>
        new(LogSumExpMma.CrossEntropyLogSumExpMma<TElement>, PtxTarget.Sm80, MmaProduct.Threads, MmaProduct.SharedBytes);
}
