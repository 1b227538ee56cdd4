using System.Numerics;
using ILGPU;
using KernelEngine.Kernels.Gpu.Layers;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="Sample"/>, or <see cref="ArgMax"/> at temperature 0.</summary>
internal sealed class SampleRows() : GpuKernel<SampleProblem>("sample/ilgpu")
{
    // Tokens are counted in float32.
    private const int MaxSize = 1 << 24;

    private readonly GpuEntry<RowParameters> _sample = new(Sample.SampleRows, GroupReduce.Threads, 4 * (GroupReduce.ScratchSize + GroupReduce.Threads));
    private readonly GpuEntry<RowParameters> _argMax = ArgMaxRows.CreateEntry();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_sample, _argMax];

    /// <inheritdoc/>
    public override string? WhyUnsupported(in SampleProblem problem) =>
        problem.Size <= MaxSize ? null : $"draws from at most {MaxSize} logits, not {problem.Size}";

    /// <inheritdoc/>
    public override void Launch(in SampleProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        // An empty row has no first logit for the sampler to look at.
        bool isArgMax = problem.Temperature == 0 || problem.Size == 0;
        GpuView uniforms = operands[SampleProblem.Uniforms];
        device.Launch(isArgMax ? _argMax : _sample, problem.Rows, new RowParameters
        {
            Logits = operands[SampleProblem.Logits].AsMatrix<float>(),
            Indices = operands[SampleProblem.Indices].As<int>(),
            Uniforms = (uniforms.IsPresent ? uniforms : operands[SampleProblem.Logits]).As<float>(),
            Size = problem.Size,
            IndexSteps = BitOperations.Log2((uint)problem.Size) + 1,
            TopK = problem.TopK,
            Temperature = problem.Temperature,
            TopP = problem.TopP,
            LowestExponent = MathF.Log(problem.MinP),
        });
    }
}
