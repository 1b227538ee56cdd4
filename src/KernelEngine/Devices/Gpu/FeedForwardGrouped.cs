using ILGPU;
using KernelEngine.Kernels.Gpu.FeedForward;

namespace KernelEngine;

/// <summary>
/// Launches a routed feed-forward layer: lists of each block's tokens, the product with the first weights, activations, the product with
/// the last ones, and the sums of each token's blocks. Workspace: 4 bytes for each number of tokens · activeBlocks · (keptUnits + hiddenSize + 2).
/// </summary>
internal sealed class FeedForwardGrouped() : GpuKernel<FeedForwardProblem>("feed-forward-forward/ilgpu-tiled")
{
    private readonly GpuEntry<UnitRows.Parameters> _activate = new(UnitRows.FeedForwardActivate, UnitRows.Threads, 0, hasQuadLoads: false);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
        [FeedForwardArguments.ListEntry, FeedForwardArguments.RowEntry, _activate, FeedForwardArguments.CombineEntry];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardProblem problem, GpuDevice device) =>
        new FeedForwardArguments(problem, hasErrors: false).WorkspaceBytes;

    /// <inheritdoc/>
    public override void Launch(in FeedForwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        var arguments = new FeedForwardArguments(problem, hasErrors: false);
        BlockLists lists = arguments.Lists(operands[FeedForwardProblem.Selected], workspace);
        var units = arguments.Units(workspace);
        var rows = arguments.Rows(workspace);
        GpuView hidden = operands[FeedForwardProblem.Hidden], output = operands[FeedForwardProblem.Output], kept = operands[FeedForwardProblem.Units];
        device.Launch(FeedForwardArguments.ListEntry, problem.Blocks, lists);
        arguments.LaunchInner(
            device, lists, hidden, operands[FeedForwardProblem.UpWeight], operands[FeedForwardProblem.UpBias], isDown: false, arguments.Up(units));
        if (problem.IsGated)
            arguments.LaunchInner(device, lists, hidden, operands[FeedForwardProblem.GateWeight], default, isDown: false, units);
        device.Launch(_activate, arguments.Entries, new UnitRows.Parameters
        {
            Lists = lists,
            Kept = FeedForwardArguments.Typed(AttentionArguments.Or(kept, output)),
            Units = units,
            Errors = units,
            Gates = units,
            GradGates = units,
            Activation = (int)problem.Activation,
            HasKept = kept.IsPresent ? 1 : 0,
        });
        arguments.LaunchOuter(device, lists, arguments.Up(units), operands[FeedForwardProblem.DownWeight], isDown: true, rows, accumulates: false);
        arguments.LaunchCombine(device, lists, rows, operands[FeedForwardProblem.Gates], operands[FeedForwardProblem.DownBias], output);
    }
}
