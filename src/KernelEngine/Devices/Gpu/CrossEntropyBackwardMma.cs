using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="LogitGradientsMma"/> and <see cref="GradientProductMma"/>.</summary>
internal sealed class CrossEntropyBackwardMma() : CrossEntropyBackwardOnTensorCores("cross-entropy-backward/cuda-mma", PtxTarget.Sm80)
{
    private readonly TensorCoreEntries<LogitGradientsMma.Parameters> _logits = new(
        Entry<LogitGradientsMma.Parameters>(LogitGradientsMma.CrossEntropyLogitGradientsMma<TensorCoreFloat16>),
        Entry<LogitGradientsMma.Parameters>(LogitGradientsMma.CrossEntropyLogitGradientsMma<TensorCoreBFloat16>));
    private readonly TensorCoreEntries<GradientProductMma.Parameters> _gradHidden = new(
        Entry<GradientProductMma.Parameters>(GradientProductMma.CrossEntropyGradHiddenMma<TensorCoreFloat16>),
        Entry<GradientProductMma.Parameters>(GradientProductMma.CrossEntropyGradHiddenMma<TensorCoreBFloat16>));
    private readonly TensorCoreEntries<GradientProductMma.Parameters> _gradClassifier = new(
        Entry<GradientProductMma.Parameters>(GradientProductMma.CrossEntropyGradClassifierMma<TensorCoreFloat16>),
        Entry<GradientProductMma.Parameters>(GradientProductMma.CrossEntropyGradClassifierMma<TensorCoreBFloat16>));

    /// <inheritdoc/>
    protected override IEnumerable<GpuEntry> Products => [.. _logits.All, .. _gradHidden.All, .. _gradClassifier.All];

    /// <inheritdoc/>
    protected override void LaunchLogits(
        in GpuView hidden, in GpuView classifier, long groups, GpuDevice device, in LogitGradientTile.Parameters tile) =>
        device.Launch(_logits.For(hidden.Type), groups, new LogitGradientsMma.Parameters
        {
            Hidden = hidden.AsMatrixAddress(),
            Classifier = classifier.AsMatrixAddress(),
            Tile = tile,
        });

    /// <inheritdoc/>
    protected override void LaunchProduct(
        bool ownsClasses, in MatrixAddress gradients, in GpuView other, long groups, GpuDevice device, in GradientProductTile.Parameters tile) =>
        device.Launch((ownsClasses ? _gradClassifier : _gradHidden).For(other.Type), groups, new GradientProductMma.Parameters
        {
            Gradients = gradients,
            Other = other.AsMatrixAddress(),
            Tile = tile,
        });

    private static CudaEntry<TParameters> Entry<TParameters>(Action<TParameters> body) where TParameters : unmanaged =>
        new(body, PtxTarget.Sm80, MmaProduct.Threads, MmaProduct.SharedBytes);
}
