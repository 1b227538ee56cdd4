using ILGPU;
using KernelEngine.Kernels.Gpu.Linear;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="MatrixTimesVector"/>: a linear layer for one row, or a few.</summary>
internal sealed class LinearMatVec() : GpuKernel<LinearProblem>("linear/ilgpu-matvec")
{
    // Each row reads all weights again; from five rows on the tiled kernel reads them less often.
    private const int MaxRows = 4;

    private readonly GpuEntry<LinearParameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<LinearParameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<LinearParameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16];

    /// <inheritdoc/>
    public override string? WhyUnsupported(in LinearProblem problem) =>
        problem.IsInputTransposed || problem.IsWeightTransposed ? "takes factors that lie in rows"
        : problem.Rows <= MaxRows ? null : $"computes at most {MaxRows} rows, not {problem.Rows}";

    /// <inheritdoc/>
    public override void Launch(in LinearProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        long groups = problem.Rows * (((long)problem.OutputSize + MatrixTimesVector.Features - 1) / MatrixTimesVector.Features);
        if (problem.WeightType == DataType.Float32)
            device.Launch(_float32, groups, LinearTiled.Parameters<float>(problem, operands));
        else
            device.Launch(problem.WeightType == DataType.Float16 ? _float16 : _bfloat16, groups, LinearTiled.Parameters<ushort>(problem, operands));
    }

    private static GpuEntry<LinearParameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(MatrixTimesVector.LinearRowDots<T, TStorage>, MatrixTimesVector.Threads, 4 * MatrixTimesVector.Features * (MatrixTimesVector.Threads + MatrixTimesVector.Features));
}
