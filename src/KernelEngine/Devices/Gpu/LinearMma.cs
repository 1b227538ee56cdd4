using ILGPU;
using KernelEngine.Kernels.Gpu.Linear;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="MatrixTimesMatrixMma"/>: a linear layer for many rows on the tensor cores of Ampere and later.</summary>
internal sealed class LinearMma() : GpuKernel<LinearProblem>("linear/cuda-mma", DeviceKinds.Cuda)
{
    private readonly TensorCoreEntries<MatrixTimesMatrixMma.Parameters> _entries =
        new(Entry<TensorCoreFloat16>(), Entry<TensorCoreBFloat16>());

    // For matrices whose rows do not begin on 16 bytes.
    private readonly LinearTiled _portable = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _entries.All];

    /// <inheritdoc/>
    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm80);

    /// <inheritdoc/>
    public override string? WhyUnsupported(in LinearProblem problem) =>
        problem.IsInputTransposed || problem.IsWeightTransposed ? "takes factors that lie in rows"
        : problem.WeightType == DataType.Float32 ? "multiplies with 16-bit weights" : null;

    /// <inheritdoc/>
    public override void Launch(in LinearProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView input = operands[LinearProblem.Input], weight = operands[LinearProblem.Weight], output = operands[LinearProblem.Output];
        if (!input.HasRowsOf(4) || !weight.HasRowsOf(8) || !output.HasRowsOf(2))
        {
            _portable.Launch(problem, operands, workspace, device);
            return;
        }
        long groups = Blocks(problem.Rows) * Blocks(problem.OutputSize);
        device.Launch(_entries.For(problem.WeightType), groups, new MatrixTimesMatrixMma.Parameters
        {
            Input = input.Address,
            Weight = weight.Address,
            Output = output.Address,
            InputStride = input.Layout.Stride(0),
            WeightStride = weight.Layout.Stride(0),
            OutputStride = output.Layout.Stride(0),
            Rows = problem.Rows,
            OutputSize = problem.OutputSize,
            InputSize = problem.InputSize,
        });
    }

    private static long Blocks(int size) => ((long)size + MatrixTimesMatrixMma.Block - 1) / MatrixTimesMatrixMma.Block;

    private static CudaEntry<MatrixTimesMatrixMma.Parameters> Entry<TElement>() where TElement : struct, ITensorCoreElement => new(
        MatrixTimesMatrixMma.LinearMma<TElement>, PtxTarget.Sm80, MatrixTimesMatrixMma.Threads, MatrixTimesMatrixMma.SharedBytes);
}
