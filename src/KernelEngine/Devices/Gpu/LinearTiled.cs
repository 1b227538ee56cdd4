using ILGPU;
using KernelEngine.Kernels.Gpu.Linear;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="MatrixTimesMatrix"/>: a linear layer for many rows.</summary>
internal sealed class LinearTiled() : GpuKernel<LinearProblem>("linear/ilgpu-tiled")
{
    private readonly GpuEntry<LinearParameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<LinearParameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<LinearParameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16];

    /// <inheritdoc/>
    public override void Launch(in LinearProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        long groups = Blocks(problem.Rows) * Blocks(problem.OutputSize);
        if (problem.WeightType == DataType.Float32)
            device.Launch(_float32, groups, Parameters<float>(problem, operands));
        else
            device.Launch(problem.WeightType == DataType.Float16 ? _float16 : _bfloat16, groups, Parameters<ushort>(problem, operands));
    }

    internal static LinearParameters<T> Parameters<T>(in LinearProblem problem, ReadOnlySpan<GpuView> operands) where T : unmanaged => new()
    {
        Input = operands[LinearProblem.Input].AsMatrix<float>(),
        Weight = operands[LinearProblem.Weight].AsMatrix<T>(),
        Output = operands[LinearProblem.Output].AsMatrix<float>(),
        Rows = problem.Rows,
        OutputSize = problem.OutputSize,
        InputSize = problem.InputSize,
    };

    private static long Blocks(int size) => ((long)size + MatrixTimesMatrix.Block - 1) / MatrixTimesMatrix.Block;

    private static GpuEntry<LinearParameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(MatrixTimesMatrix.LinearTiled<T, TStorage>, MatrixTimesMatrix.Threads, 2 * 4 * TransposedTile.Depth * MatrixTimesMatrix.Block);
}
