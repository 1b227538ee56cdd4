using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Linear;

/// <summary>
/// The gradients of a linear layer (<see cref="LinearBackwardProblem"/>), as two products of factors that lie transposed. Workspace:
/// that of one product. Cost: 4 · rows · outputSize · inputSize FLOPs.
/// </summary>
/// <param name="product">What multiplies. It gives the kernel its device and the end of its name.</param>
public sealed unsafe class LinearBackward(CpuKernel<LinearProblem> product)
    : CpuKernel<LinearBackwardProblem>(product.Name.Replace("linear", "linear-backward", StringComparison.Ordinal), product.Devices)
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => product.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in LinearBackwardProblem problem, int threads) =>
        Math.Max(product.GetWorkspaceBytes(problem.InputProduct, threads), product.GetWorkspaceBytes(problem.WeightProduct, threads));

    /// <inheritdoc/>
    public override void Run(in LinearBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView gradOutput = operands[LinearBackwardProblem.GradOutput];
        RawView gradInput = operands[LinearBackwardProblem.GradInput], gradWeight = operands[LinearBackwardProblem.GradWeight];
        if (gradInput.IsPresent)
            product.Run(problem.InputProduct, [gradOutput, operands[LinearBackwardProblem.Weight], gradInput], workspace, workers);
        if (gradWeight.IsPresent)
            product.Run(problem.WeightProduct, [gradOutput, operands[LinearBackwardProblem.Input], gradWeight], workspace, workers);
    }
}
