using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="LogitGradientsWgmma"/> and <see cref="GradientProductWgmma"/>.</summary>
internal sealed class CrossEntropyBackwardWgmma() : CrossEntropyBackwardOnTensorCores("cross-entropy-backward/cuda-wgmma", PtxTarget.Sm90a)
{
    private readonly TensorCoreEntries<LogitGradientsWgmma.Parameters> _logits = new(
        Entry<LogitGradientsWgmma.Parameters>(LogitGradientsWgmma.CrossEntropyLogitGradientsWgmma<TensorCoreFloat16>),
        Entry<LogitGradientsWgmma.Parameters>(LogitGradientsWgmma.CrossEntropyLogitGradientsWgmma<TensorCoreBFloat16>));
    private readonly TensorCoreEntries<GradientProductWgmma.Parameters> _gradHidden = new(
        Entry<GradientProductWgmma.Parameters>(GradientProductWgmma.CrossEntropyGradHiddenWgmma<TensorCoreFloat16>),
        Entry<GradientProductWgmma.Parameters>(GradientProductWgmma.CrossEntropyGradHiddenWgmma<TensorCoreBFloat16>));
    private readonly TensorCoreEntries<GradientProductWgmma.Parameters> _gradClassifier = new(
        Entry<GradientProductWgmma.Parameters>(GradientProductWgmma.CrossEntropyGradClassifierWgmma<TensorCoreFloat16>),
        Entry<GradientProductWgmma.Parameters>(GradientProductWgmma.CrossEntropyGradClassifierWgmma<TensorCoreBFloat16>));

    /// <inheritdoc/>
    protected override IEnumerable<GpuEntry> Products => [.. _logits.All, .. _gradHidden.All, .. _gradClassifier.All];

    /// <inheritdoc/>
    protected override void LaunchLogits(
        in GpuView hidden, in GpuView classifier, long groups, GpuDevice device, in LogitGradientTile.Parameters tile) =>
        device.Launch(_logits.For(hidden.Type), groups, new LogitGradientsWgmma.Parameters
        {
            Hidden = CrossEntropyTensorCoreArguments.Map(device, hidden, ProductTile.BlockM),
            Classifier = CrossEntropyTensorCoreArguments.Map(device, classifier, ProductTile.BlockN),
            Tile = tile,
        });

    /// <inheritdoc/>
    protected override void LaunchProduct(
        bool ownsClasses, in MatrixAddress gradients, in GpuView other, long groups, GpuDevice device, in GradientProductTile.Parameters tile) =>
        device.Launch((ownsClasses ? _gradClassifier : _gradHidden).For(other.Type), groups, new GradientProductWgmma.Parameters
        {
            Gradients = CrossEntropyTensorCoreArguments.Map(
                device, gradients.Address, other.Type, gradients.Columns, gradients.Rows, gradients.Stride, WgmmaProduct.LeftRows(ownsClasses)),
            Other = CrossEntropyTensorCoreArguments.Map(device, other, WgmmaProduct.RightRows(isTransposed: true)),
            Tile = tile,
        });

    private static CudaEntry<TParameters> Entry<TParameters>(Action<TParameters> body) where TParameters : unmanaged =>
        new(body, PtxTarget.Sm90a, WgmmaProduct.Threads, WgmmaProduct.SharedBytes);
}
