using ILGPU;
using ILGPU.Runtime;

namespace KernelEngine;

/// <summary>Loss and gradients: <see cref="CrossEntropyTiled"/>, then <see cref="CrossEntropyBackwardTiled"/>, with every logit computed twice.</summary>
internal sealed class CrossEntropyTrainingTiled() : GpuKernel<CrossEntropyTrainingProblem>("cross-entropy-training/ilgpu-tiled")
{
    private readonly CrossEntropyTiled _forward = new();
    private readonly CrossEntropyBackwardTiled _backward = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _forward.Entries, .. _backward.Entries];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyTrainingProblem problem, GpuDevice device) => LseBytes(problem)
        + Math.Max(_forward.GetWorkspaceBytes(problem.Forward, device), _backward.GetWorkspaceBytes(problem.Backward, device));

    /// <inheritdoc/>
    public override void Launch(in CrossEntropyTrainingProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuViews forward = default, backward = default;
        operands[..CrossEntropyProblem.Count].CopyTo(forward);
        // The backward pass needs the log-sum-exp, also where the caller does not.
        if (!forward[CrossEntropyProblem.Lse].IsPresent)
            forward[CrossEntropyProblem.Lse] = new GpuView(workspace, 0, DataType.Float32, TensorLayout.Contiguous(problem.Forward.Loss.Positions));
        operands[..CrossEntropyProblem.InputCount].CopyTo(backward);
        backward[CrossEntropyBackwardProblem.Lse] = forward[CrossEntropyProblem.Lse];
        backward[CrossEntropyBackwardProblem.GradHidden] = operands[CrossEntropyTrainingProblem.GradHidden];
        backward[CrossEntropyBackwardProblem.GradClassifier] = operands[CrossEntropyTrainingProblem.GradClassifier];
        backward[CrossEntropyBackwardProblem.GradBias] = operands[CrossEntropyTrainingProblem.GradBias];

        // The queue runs in order: the second pass may write where the first one's scratch was.
        ArrayView<byte> scratch = workspace.SubView(LseBytes(problem));
        _forward.Launch(problem.Forward, ((ReadOnlySpan<GpuView>)forward)[..CrossEntropyProblem.Count], scratch, device);
        _backward.Launch(problem.Backward, ((ReadOnlySpan<GpuView>)backward)[..CrossEntropyBackwardProblem.Count], scratch, device);
    }

    private static long LseBytes(in CrossEntropyTrainingProblem problem)
    {
        var layout = default(WorkspaceLayout);
        layout.Add(problem.Forward.Loss.Positions);
        return layout.Bytes;
    }
}
