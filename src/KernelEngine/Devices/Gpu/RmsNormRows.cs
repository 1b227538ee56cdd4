using ILGPU;
using KernelEngine.Kernels.Gpu.Layers;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="RmsNorm"/>.</summary>
internal sealed class RmsNormRows() : GpuKernel<RmsNormProblem>("rms-norm/ilgpu")
{
    private readonly GpuEntry<RmsNorm.Parameters> _rows = new(RmsNorm.RmsNormRows, GroupReduce.Threads, sizeof(float) * GroupReduce.ScratchSize);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_rows];

    /// <inheritdoc/>
    public override void Launch(in RmsNormProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView weight = operands[RmsNormProblem.Weight];
        device.Launch(_rows, problem.Rows, new RmsNorm.Parameters
        {
            Input = operands[RmsNormProblem.Input].AsMatrix<float>(),
            Output = operands[RmsNormProblem.Output].AsMatrix<float>(),
            Weight = weight.As<float>(),
            WeightHasQuads = weight.HasQuads ? 1 : 0,
            Size = problem.Size,
            Epsilon = problem.Epsilon,
        });
    }
}
