using ILGPU;
using KernelEngine.Kernels.Gpu.Layers;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="SwiGlu"/>.</summary>
internal sealed class SwiGluElements() : GpuKernel<SwiGluProblem>("swiglu/ilgpu")
{
    private readonly GpuEntry<SwiGlu.Parameters> _elements = new(SwiGlu.SwiGluElements, GroupReduce.Threads, 0);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_elements];

    /// <inheritdoc/>
    public override void Launch(in SwiGluProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        int blocks = (int)(((long)problem.Size + SwiGlu.Block - 1) / SwiGlu.Block);
        device.Launch(_elements, (long)problem.Rows * blocks, new SwiGlu.Parameters
        {
            Gate = operands[SwiGluProblem.Gate].AsMatrix<float>(),
            Up = operands[SwiGluProblem.Up].AsMatrix<float>(),
            Output = operands[SwiGluProblem.Output].AsMatrix<float>(),
            Size = problem.Size,
            BlocksPerRow = blocks,
        });
    }
}
