using ILGPU;
using KernelEngine.Kernels.Gpu.Layers;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="ResidualAdd"/>.</summary>
internal sealed class ResidualAddElements() : GpuKernel<ResidualAddProblem>("residual-add/ilgpu")
{
    private readonly GpuEntry<ResidualAdd.Parameters> _elements = new(ResidualAdd.ResidualAddElements, GroupReduce.Threads, 0);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_elements];

    /// <inheritdoc/>
    public override void Launch(in ResidualAddProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        int blocks = (int)(((long)problem.Size + ResidualAdd.Block - 1) / ResidualAdd.Block);
        device.Launch(_elements, (long)problem.Rows * blocks, new ResidualAdd.Parameters
        {
            Residual = operands[ResidualAddProblem.Residual].AsMatrix<float>(),
            Input = operands[ResidualAddProblem.Input].AsMatrix<float>(),
            Size = problem.Size,
            BlocksPerRow = blocks,
        });
    }
}
