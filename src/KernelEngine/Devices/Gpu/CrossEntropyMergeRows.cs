using ILGPU;
using ILGPU.Runtime;
using KernelEngine.Kernels.Gpu.CrossEntropy;

namespace KernelEngine;

/// <summary>Launches <see cref="PositionResults"/> on the states of the shards of a vocabulary.</summary>
internal sealed class CrossEntropyMergeRows() : GpuKernel<CrossEntropyMergeProblem>("cross-entropy-merge/ilgpu-rows")
{
    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
        [CrossEntropyArguments.PositionSums, CrossEntropyArguments.Results, CrossEntropyArguments.Totals];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyMergeProblem problem, GpuDevice device) => Layout(problem.Loss, out _);

    /// <inheritdoc/>
    public override void Launch(
        in CrossEntropyMergeProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView states = operands[CrossEntropyMergeProblem.States], bestClasses = operands[CrossEntropyMergeProblem.BestClasses];
        Layout(problem.Loss, out long positionLosses);
        LossParameters loss = CrossEntropyArguments.Loss(problem.Loss, operands, workspace);
        device.Launch(CrossEntropyArguments.PositionSums, 1, loss);
        CrossEntropyArguments.LaunchResults(
            CrossEntropyArguments.ResultsOf(loss, operands, workspace.SubView(positionLosses).Cast<float>()) with
            {
                States = states.As<float>(),
                BestClasses = AttentionArguments.Or(bestClasses, states).As<int>(),
                PartStride = states.Layout.Stride(0),
                PositionStride = states.Layout.Stride(1),
                BestPartStride = AttentionArguments.Stride(bestClasses, 0),
                Parts = problem.Parts,
                HasBestClasses = bestClasses.IsPresent ? 1 : 0,
            },
            device);
    }

    private static long Layout(in CrossEntropyLoss loss, out long positionLosses)
    {
        var layout = default(WorkspaceLayout);
        CrossEntropyArguments.AddScratch(loss, ref layout);
        positionLosses = layout.Add(3L * loss.Positions);
        return layout.Bytes;
    }
}
