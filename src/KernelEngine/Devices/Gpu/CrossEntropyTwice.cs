using ILGPU;
using ILGPU.Runtime;

namespace KernelEngine;

/// <summary>Launches a forward kernel, then a backward one: logits are computed twice.</summary>
internal sealed class CrossEntropyTwice(
    string name, DeviceKinds devices, GpuKernel<CrossEntropyProblem> forward, GpuKernel<CrossEntropyBackwardProblem> backward)
    : GpuKernel<CrossEntropyTrainingProblem>(name, devices)
{
    /// <inheritdoc/>
    public override bool RoundsIntermediates => backward.RoundsIntermediates;

    /// <inheritdoc/>
    public override string? WhyUnavailable => forward.WhyUnavailable ?? backward.WhyUnavailable;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in CrossEntropyTrainingProblem problem) =>
        forward.WhyUnsupported(problem.Forward) ?? backward.WhyUnsupported(problem.Backward);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. forward.Entries, .. backward.Entries];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyTrainingProblem problem, GpuDevice device) => LseBytes(problem)
        + Math.Max(forward.GetWorkspaceBytes(problem.Forward, device), backward.GetWorkspaceBytes(problem.Backward, device));

    /// <inheritdoc/>
    public override void Launch(
        in CrossEntropyTrainingProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuViews first = default, second = default;
        operands[..CrossEntropyProblem.Count].CopyTo(first);
        // The backward pass needs the log-sum-exp, also where the caller does not.
        if (!first[CrossEntropyProblem.Lse].IsPresent)
        {
            var layout = TensorLayout.Contiguous(problem.Forward.Loss.Positions);
            first[CrossEntropyProblem.Lse] = new GpuView(workspace, 0, DataType.Float32, layout);
        }
        operands[..CrossEntropyProblem.InputCount].CopyTo(second);
        second[CrossEntropyBackwardProblem.Lse] = first[CrossEntropyProblem.Lse];
        second[CrossEntropyBackwardProblem.GradHidden] = operands[CrossEntropyTrainingProblem.GradHidden];
        second[CrossEntropyBackwardProblem.GradClassifier] = operands[CrossEntropyTrainingProblem.GradClassifier];
        second[CrossEntropyBackwardProblem.GradBias] = operands[CrossEntropyTrainingProblem.GradBias];

        // The queue runs in order: the second pass may write where the first one's scratch was.
        ArrayView<byte> scratch = workspace.SubView(LseBytes(problem));
        forward.Launch(problem.Forward, ((ReadOnlySpan<GpuView>)first)[..CrossEntropyProblem.Count], scratch, device);
        backward.Launch(problem.Backward, ((ReadOnlySpan<GpuView>)second)[..CrossEntropyBackwardProblem.Count], scratch, device);
    }

    private static long LseBytes(in CrossEntropyTrainingProblem problem)
    {
        var layout = default(WorkspaceLayout);
        layout.Add(problem.Forward.Loss.Positions);
        return layout.Bytes;
    }
}
