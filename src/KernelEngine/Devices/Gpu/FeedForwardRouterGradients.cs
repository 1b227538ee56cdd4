using ILGPU;
using KernelEngine.Kernels.Gpu.FeedForward;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="RouterGradients"/>. Workspace: 4 bytes for each token and block.</summary>
internal sealed class FeedForwardRouterGradients() : GpuKernel<FeedForwardRouteBackwardProblem>("feed-forward-route-backward/ilgpu")
{
    private readonly GpuEntry<RouterGradients.Parameters> _slopes = new(
        RouterGradients.FeedForwardRouteSlopes, RouterGradients.Threads, RouterGradients.SlopeBytes);
    private readonly GpuEntry<RouterGradients.Parameters> _weight = new(
        RouterGradients.FeedForwardRouteWeight, RouterGradients.Threads, 0, hasQuadLoads: false);
    private readonly GpuEntry<ColumnSums.Parameters> _bias = new(ColumnSums.FeedForwardColumnSums, ColumnSums.Threads, 0, hasQuadLoads: false);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_slopes, _weight, _bias];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardRouteBackwardProblem problem, GpuDevice device)
    {
        var layout = default(WorkspaceLayout);
        layout.Add((long)problem.Forward.Tokens * problem.Forward.Blocks);
        return layout.Bytes;
    }

    /// <inheritdoc/>
    public override void Launch(
        in FeedForwardRouteBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        FeedForwardRouteProblem forward = problem.Forward;
        GpuView gates = operands[FeedForwardRouteBackwardProblem.Gates], gradHidden = operands[FeedForwardRouteBackwardProblem.GradHidden];
        GpuView hidden = operands[FeedForwardRouteBackwardProblem.Hidden], gradGates = operands[FeedForwardRouteBackwardProblem.GradGates];
        GpuView counts = operands[FeedForwardRouteBackwardProblem.Counts], gradWeight = operands[FeedForwardRouteBackwardProblem.GradWeight];
        GpuView gradBias = operands[FeedForwardRouteBackwardProblem.GradBias];
        var slopes = new MatrixView<float> { Data = workspace.Cast<float>(), RowStride = forward.Blocks };
        int groups = (int)(((long)forward.HiddenSize + RouterGradients.Threads - 1) / RouterGradients.Threads);
        var parameters = new RouterGradients.Parameters
        {
            Hidden = FeedForwardArguments.Typed(hidden),
            GradHidden = FeedForwardArguments.Typed(AttentionArguments.Or(gradHidden, hidden)),
            Weight = operands[FeedForwardRouteBackwardProblem.Weight].AsMatrix<float>(),
            Gates = gates.AsMatrix<float>(),
            GradGates = AttentionArguments.Or(gradGates, gates).AsMatrix<float>(),
            GradWeight = AttentionArguments.Or(gradWeight, gates).AsMatrix<float>(),
            Counts = AttentionArguments.Or(counts, gates).As<int>(),
            Slopes = slopes.Data,
            HiddenSize = forward.HiddenSize,
            Blocks = forward.Blocks,
            Tokens = forward.Tokens,
            ColumnGroups = groups,
            HasGradGates = gradGates.IsPresent ? 1 : 0,
            HasGradHidden = gradHidden.IsPresent ? 1 : 0,
            HasBalance = counts.IsPresent ? 1 : 0,
            BalanceFactor = forward.BalanceWeight * forward.Blocks / Math.Max(1, forward.Tokens),
            Choices = (float)((double)forward.Tokens * forward.ActiveBlocks),
        };
        device.Launch(_slopes, forward.Tokens, parameters);
        if (gradWeight.IsPresent)
            device.Launch(_weight, (long)forward.Blocks * groups, parameters);
        if (!gradBias.IsPresent)
            return;
        int biasGroups = (forward.Blocks + ColumnSums.Threads - 1) / ColumnSums.Threads;
        device.Launch(_bias, biasGroups, new ColumnSums.Parameters
        {
            Offsets = workspace.Cast<int>(), // not read
            Rows = FeedForwardArguments.Typed(slopes),
            Target = FeedForwardArguments.Typed(gradBias),
            RowCount = forward.Tokens,
            Columns = forward.Blocks,
            ColumnGroups = biasGroups,
        });
    }
}
