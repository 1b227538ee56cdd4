using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// Loss and gradients (<see cref="CrossEntropyTrainingProblem"/>) by a forward and a backward kernel one after the other: the
/// reference and the plain computation of those two, and what computes them where there is no memory for logits.
/// Workspace: the larger of both kernels', and 4 bytes a position for the log-sum-exp.
/// </summary>
public sealed unsafe class ForwardThenBackward(
    string name, DeviceKinds device, CpuKernel<CrossEntropyProblem> forward, CpuKernel<CrossEntropyBackwardProblem> backward)
    : CpuKernel<CrossEntropyTrainingProblem>(name, device)
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => forward.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyTrainingProblem problem, int threads) => checked(
        LseBytes(problem) + Math.Max(forward.GetWorkspaceBytes(problem.Forward, threads), backward.GetWorkspaceBytes(problem.Backward, threads)));

    /// <inheritdoc/>
    public override void Run(in CrossEntropyTrainingProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        Span<RawView> views = stackalloc RawView[CrossEntropyProblem.Count];
        operands[..CrossEntropyProblem.Count].CopyTo(views);
        ref RawView lse = ref views[CrossEntropyProblem.Lse];
        if (!lse.IsPresent)
            lse = new RawView(workspace, DataType.Float32, TensorLayout.Contiguous(problem.Forward.Loss.Positions));
        void* scratch = (byte*)workspace + LseBytes(problem);
        forward.Run(problem.Forward, views, scratch, workers);

        Span<RawView> backwardViews = stackalloc RawView[CrossEntropyBackwardProblem.Count];
        backwardViews.Clear();
        operands[..CrossEntropyProblem.InputCount].CopyTo(backwardViews);
        backwardViews[CrossEntropyBackwardProblem.Lse] = lse;
        operands[CrossEntropyTrainingProblem.GradHidden..].CopyTo(backwardViews[CrossEntropyBackwardProblem.GradHidden..]);
        backward.Run(problem.Backward, backwardViews, scratch, workers);
    }

    private static long LseBytes(in CrossEntropyTrainingProblem problem) => (sizeof(float) * (long)problem.Forward.Loss.Positions + 63) / 64 * 64;
}
