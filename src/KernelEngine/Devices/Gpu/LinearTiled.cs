using ILGPU;
using KernelEngine.Kernels.Gpu.Linear;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="MatrixTimesMatrix"/>: a linear layer for many rows.</summary>
internal sealed class LinearTiled() : GpuKernel<LinearProblem>("linear/ilgpu-tiled")
{
    private static readonly GpuEntry<LinearParameters<float>> s_float32 = Entry<float, Float32Storage>();
    private static readonly GpuEntry<LinearParameters<ushort>> s_float16 = Entry<ushort, Float16Storage>();
    private static readonly GpuEntry<LinearParameters<ushort>> s_bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [s_float32, s_float16, s_bfloat16];

    /// <inheritdoc/>
    public override void Launch(in LinearProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        long groups = Blocks(problem.Rows) * Blocks(problem.OutputSize);
        if (problem.WeightType == DataType.Float32)
            device.Launch(s_float32, groups, Parameters<float>(problem, operands));
        else
            device.Launch(problem.WeightType == DataType.Float16 ? s_float16 : s_bfloat16, groups, Parameters<ushort>(problem, operands));
    }

    internal static LinearParameters<T> Parameters<T>(in LinearProblem problem, ReadOnlySpan<GpuView> operands) where T : unmanaged => new()
    {
        Input = operands[LinearProblem.Input].AsMatrix<float>(),
        Weight = operands[LinearProblem.Weight].AsMatrix<T>(),
        Output = operands[LinearProblem.Output].AsMatrix<float>(),
        Rows = problem.Rows,
        OutputSize = problem.OutputSize,
        InputSize = problem.InputSize,
        IsInputTransposed = problem.IsInputTransposed ? 1 : 0,
        IsWeightTransposed = problem.IsWeightTransposed ? 1 : 0,
    };

    private static long Blocks(int size) => ((long)size + MatrixTimesMatrix.Block - 1) / MatrixTimesMatrix.Block;

    private static GpuEntry<LinearParameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(MatrixTimesMatrix.LinearTiled<T, TStorage>, MatrixTimesMatrix.Threads, 2 * 4 * TransposedTile.Depth * MatrixTimesMatrix.Block);
}
