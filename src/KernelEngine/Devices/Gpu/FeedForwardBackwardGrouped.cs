using ILGPU;
using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.FeedForward;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// Launches the gradients of a routed feed-forward layer: units again unless they were kept, the gradients of the activations and of the
/// units, and from those the ones of hidden rows and weights, each a sum in a fixed order. Workspace: 4 bytes for each number of
/// tokens · activeBlocks · (keptUnits + unitsOfBlock + hiddenSize + 2).
/// </summary>
internal sealed class FeedForwardBackwardGrouped() : GpuKernel<FeedForwardBackwardProblem>("feed-forward-backward/ilgpu-tiled")
{
    private readonly GpuEntry<UnitRows.Parameters> _differentiate = new(
        UnitRows.FeedForwardDifferentiate, UnitRows.Threads, UnitRows.SharedBytes, hasQuadLoads: false);
    private readonly GpuEntry<GroupedWeights.Parameters> _weights = new(
        GroupedWeights.FeedForwardWeights, GroupedWeights.Threads, GroupedWeights.SharedBytes);
    private readonly GpuEntry<ColumnSums.Parameters> _sums = new(ColumnSums.FeedForwardColumnSums, ColumnSums.Threads, 0, hasQuadLoads: false);
    private readonly GpuEntry<GradientRows.ClearParameters> _clear = new(
        GradientRows.CrossEntropyClear, GradientRows.Threads, 0, hasQuadLoads: false);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
        [FeedForwardArguments.ListEntry, FeedForwardArguments.RowEntry, FeedForwardArguments.CombineEntry, _differentiate, _weights, _sums, _clear];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardBackwardProblem problem, GpuDevice device) =>
        new FeedForwardArguments(problem.Forward, hasErrors: true).WorkspaceBytes;

    /// <inheritdoc/>
    public override void Launch(
        in FeedForwardBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        FeedForwardProblem forward = problem.Forward;
        var arguments = new FeedForwardArguments(forward, hasErrors: true);
        BlockLists lists = arguments.Lists(operands[FeedForwardProblem.Selected], workspace);
        MatrixView<float> units = arguments.Units(workspace), errors = arguments.Errors(workspace), rows = arguments.Rows(workspace);
        GpuView hidden = operands[FeedForwardProblem.Hidden], upWeight = operands[FeedForwardProblem.UpWeight];
        GpuView gateWeight = operands[FeedForwardProblem.GateWeight], gradOutput = operands[FeedForwardBackwardProblem.GradOutput];
        GpuView gradHidden = operands[FeedForwardBackwardProblem.GradHidden], gradDownBias = operands[FeedForwardBackwardProblem.GradDownBias];
        if (gradDownBias.IsPresent)
            LaunchSums(device, lists, hasBlocks: false, FeedForwardArguments.Typed(gradOutput), forward.Tokens, gradDownBias, forward.HiddenSize);
        device.Launch(FeedForwardArguments.ListEntry, forward.Blocks, lists);
        if (!problem.HasUnits)
            arguments.LaunchInner(device, lists, hidden, upWeight, operands[FeedForwardProblem.UpBias], isDown: false, arguments.Up(units));
        if (!problem.HasUnits && forward.IsGated)
            arguments.LaunchInner(device, lists, hidden, gateWeight, default, isDown: false, units);
        arguments.LaunchInner(device, lists, gradOutput, operands[FeedForwardProblem.DownWeight], default, isDown: true, errors);
        LaunchDifferentiate(device, forward, operands, arguments, lists, workspace);
        if (gradHidden.IsPresent)
        {
            arguments.LaunchOuter(device, lists, arguments.Up(units), upWeight, isDown: false, rows, accumulates: false);
            if (forward.IsGated)
                arguments.LaunchOuter(device, lists, units, gateWeight, isDown: false, rows, accumulates: true);
            arguments.LaunchCombine(device, lists, rows, default, default, gradHidden);
        }
        LaunchInnerWeight(device, forward, lists, arguments.Up(units), hidden, operands[FeedForwardBackwardProblem.GradUpWeight]);
        LaunchInnerWeight(device, forward, lists, units, hidden, operands[FeedForwardBackwardProblem.GradGateWeight]);
        LaunchDownWeight(device, forward, lists, gradOutput, errors, operands[FeedForwardBackwardProblem.GradDownWeight]);
        if (operands[FeedForwardBackwardProblem.GradUpBias] is { IsPresent: true } gradUpBias)
            LaunchSums(device, lists, hasBlocks: true, FeedForwardArguments.Typed(arguments.Up(units)), 0, gradUpBias, forward.UnitsOfBlock);
    }

    private void LaunchDifferentiate(
        GpuDevice device, in FeedForwardProblem forward, ReadOnlySpan<GpuView> operands, in FeedForwardArguments arguments, in BlockLists lists,
        ArrayView<byte> workspace)
    {
        GpuView kept = operands[FeedForwardBackwardProblem.Units], gates = operands[FeedForwardProblem.Gates];
        GpuView gradGates = operands[FeedForwardBackwardProblem.GradGates];
        MatrixView<float> units = arguments.Units(workspace);
        if (gradGates.IsPresent)
        {
            device.Launch(_clear, forward.Tokens, new GradientRows.ClearParameters
            {
                Target = FeedForwardArguments.Typed(gradGates),
                Columns = forward.Blocks,
            });
        }
        device.Launch(_differentiate, arguments.Entries, new UnitRows.Parameters
        {
            Lists = lists,
            Kept = FeedForwardArguments.Typed(AttentionArguments.Or(kept, operands[FeedForwardBackwardProblem.GradOutput])),
            Units = units,
            Errors = arguments.Errors(workspace),
            Gates = gates.IsPresent ? gates.AsMatrix<float>() : units,
            GradGates = gradGates.IsPresent ? gradGates.AsMatrix<float>() : units,
            Scale = (float)forward.Blocks / forward.ActiveBlocks,
            Activation = (int)forward.Activation,
            HasKept = kept.IsPresent ? 1 : 0,
            HasGates = gates.IsPresent ? 1 : 0,
            HasGradGates = gradGates.IsPresent ? 1 : 0,
        });
    }

    private void LaunchInnerWeight(
        GpuDevice device, in FeedForwardProblem forward, in BlockLists lists, in MatrixView<float> gradients, in GpuView hidden, in GpuView target)
    {
        if (!target.IsPresent)
            return;
        LaunchWeights(device, new GroupedWeights.Parameters
        {
            Lists = lists,
            Left = FeedForwardArguments.Typed(gradients),
            Right = FeedForwardArguments.Typed(hidden),
            IsRightGathered = 1,
            Target = FeedForwardArguments.Typed(target),
            RowsOfBlock = forward.UnitsOfBlock,
            Rows = forward.UnitsOfBlock,
            Columns = forward.HiddenSize,
        });
    }

    private void LaunchDownWeight(
        GpuDevice device, in FeedForwardProblem forward, in BlockLists lists, in GpuView gradOutput, in MatrixView<float> units, in GpuView target)
    {
        if (!target.IsPresent)
            return;
        LaunchWeights(device, new GroupedWeights.Parameters
        {
            Lists = lists,
            Left = FeedForwardArguments.Typed(gradOutput),
            IsLeftGathered = 1,
            Right = FeedForwardArguments.Typed(units),
            Target = FeedForwardArguments.Typed(target, forward.UnitsOfBlock),
            ColumnsOfBlock = forward.UnitsOfBlock,
            Rows = forward.HiddenSize,
            Columns = forward.UnitsOfBlock,
        });
    }

    private void LaunchWeights(GpuDevice device, GroupedWeights.Parameters parameters)
    {
        parameters.RowTiles = FeedForwardArguments.Tiles(parameters.Rows);
        parameters.ColumnTiles = FeedForwardArguments.Tiles(parameters.Columns);
        device.Launch(_weights, (long)parameters.Lists.Blocks * parameters.RowTiles * parameters.ColumnTiles, parameters);
    }

    private void LaunchSums(
        GpuDevice device, in BlockLists lists, bool hasBlocks, in TypedTensor rows, int rowCount, in GpuView target, int columns)
    {
        int groups = (int)(((long)columns + ColumnSums.Threads - 1) / ColumnSums.Threads);
        device.Launch(_sums, (long)(hasBlocks ? lists.Blocks : 1) * groups, new ColumnSums.Parameters
        {
            Offsets = lists.Offsets,
            Rows = rows,
            Target = FeedForwardArguments.Typed(target),
            HasBlocks = hasBlocks ? 1 : 0,
            RowCount = rowCount,
            Columns = columns,
            ColumnGroups = groups,
        });
    }
}
