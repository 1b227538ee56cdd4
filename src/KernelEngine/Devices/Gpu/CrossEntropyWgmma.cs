using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="LogSumExpWgmma"/>.</summary>
internal sealed class CrossEntropyWgmma() : CrossEntropyOnTensorCores("cross-entropy-forward/cuda-wgmma", PtxTarget.Sm90a)
{
    private readonly TensorCoreEntries<LogSumExpWgmma.Parameters> _entries = new(Entry<TensorCoreFloat16>(), Entry<TensorCoreBFloat16>());

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _entries.All];

    /// <inheritdoc/>
    protected override void LaunchStates(
        in GpuView hidden, in GpuView classifier, long groups, GpuDevice device, in LogSumExpTile.Parameters tile) =>
        device.Launch(_entries.For(hidden.Type), groups, new LogSumExpWgmma.Parameters
        {
            Hidden = CrossEntropyTensorCoreArguments.Map(device, hidden, ProductTile.BlockM),
            Classifier = CrossEntropyTensorCoreArguments.Map(device, classifier, ProductTile.BlockN),
            Tile = tile,
        });

    private static CudaEntry<LogSumExpWgmma.Parameters> Entry<TElement>() where TElement : struct, ITensorCoreElement =>
        new(LogSumExpWgmma.CrossEntropyLogSumExpWgmma<TElement>, PtxTarget.Sm90a, WgmmaProduct.Threads, WgmmaProduct.SharedBytes);
}
