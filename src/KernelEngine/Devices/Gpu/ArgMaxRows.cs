using ILGPU;
using KernelEngine.Kernels.Gpu.Layers;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="ArgMax"/>.</summary>
internal sealed class ArgMaxRows() : GpuKernel<ArgMaxProblem>("arg-max/ilgpu")
{
    private readonly GpuEntry<RowParameters> _rows = CreateEntry();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_rows];

    /// <inheritdoc/>
    public override void Launch(in ArgMaxProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device) =>
        device.Launch(_rows, problem.Rows, new RowParameters
        {
            Logits = operands[ArgMaxProblem.Logits].AsMatrix<float>(),
            Indices = operands[ArgMaxProblem.Indices].As<int>(),
            Uniforms = operands[ArgMaxProblem.Logits].As<float>(), // not read
            Size = problem.Size,
        });

    internal static GpuEntry<RowParameters> CreateEntry() => new(ArgMax.ArgMaxRows, GroupReduce.Threads, 8 * GroupReduce.Threads);
}
