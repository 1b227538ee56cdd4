using ILGPU;

namespace KernelEngine;

/// <summary>Launches the gradients of a linear layer, as two products of factors that lie transposed.</summary>
internal sealed class LinearBackwardTiled() : GpuKernel<LinearBackwardProblem>("linear-backward/ilgpu-tiled")
{
    private readonly LinearTiled _product = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => _product.Entries;

    /// <inheritdoc/>
    public override void Launch(
        in LinearBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView gradOutput = operands[LinearBackwardProblem.GradOutput];
        GpuView gradInput = operands[LinearBackwardProblem.GradInput], gradWeight = operands[LinearBackwardProblem.GradWeight];
        if (gradInput.IsPresent)
            _product.Launch(problem.InputProduct, [gradOutput, operands[LinearBackwardProblem.Weight], gradInput], workspace, device);
        if (gradWeight.IsPresent)
            _product.Launch(problem.WeightProduct, [gradOutput, operands[LinearBackwardProblem.Input], gradWeight], workspace, device);
    }
}
