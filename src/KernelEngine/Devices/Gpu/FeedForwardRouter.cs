using ILGPU;
using KernelEngine.Kernels.Gpu.FeedForward;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="Router"/>. Workspace: 4 bytes a token and a block.</summary>
internal sealed class FeedForwardRouter() : GpuKernel<FeedForwardRouteProblem>("feed-forward-route/ilgpu")
{
    private readonly GpuEntry<Router.Parameters> _route = new(Router.FeedForwardRoute, Router.Threads, Router.RouteBytes);
    private readonly GpuEntry<Router.Parameters> _counts = new(Router.FeedForwardCounts, Router.Threads, Router.CountBytes, hasQuadLoads: false);
    private readonly GpuEntry<Router.Parameters> _balance = new(Router.FeedForwardBalance, Router.Threads, Router.BalanceBytes, hasQuadLoads: false);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_route, _counts, _balance];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardRouteProblem problem, GpuDevice device)
    {
        var layout = default(WorkspaceLayout);
        layout.Add(problem.Tokens);
        layout.Add(problem.Blocks);
        return layout.Bytes;
    }

    /// <inheritdoc/>
    public override void Launch(in FeedForwardRouteProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView gates = operands[FeedForwardRouteProblem.Gates], balanceLoss = operands[FeedForwardRouteProblem.BalanceLoss];
        GpuView bias = operands[FeedForwardRouteProblem.Bias];
        var layout = default(WorkspaceLayout);
        long sums = layout.Add(problem.Tokens), shares = layout.Add(problem.Blocks);
        double tokens = Math.Max(1, problem.Tokens);
        var parameters = new Router.Parameters
        {
            Hidden = FeedForwardArguments.Typed(operands[FeedForwardRouteProblem.Hidden]),
            Weight = operands[FeedForwardRouteProblem.Weight].AsMatrix<float>(),
            Gates = gates.AsMatrix<float>(),
            Selected = operands[FeedForwardRouteProblem.Selected].AsMatrix<int>(),
            Bias = AttentionArguments.Or(bias, gates).As<float>(),
            Sums = workspace.SubView(sums).Cast<float>(),
            Shares = workspace.SubView(shares).Cast<float>(),
            BalanceLoss = AttentionArguments.Or(balanceLoss, gates).As<float>(),
            Counts = operands[FeedForwardRouteProblem.Counts].As<int>(),
            Tokens = problem.Tokens,
            HiddenSize = problem.HiddenSize,
            Blocks = problem.Blocks,
            ActiveBlocks = problem.ActiveBlocks,
            HasBias = bias.IsPresent ? 1 : 0,
            BalanceFactor = (float)(problem.BalanceWeight * (double)problem.Blocks / (tokens * tokens * problem.ActiveBlocks)),
        };
        device.Launch(_route, problem.Tokens, parameters);
        device.Launch(_counts, problem.Blocks, parameters);
        if (balanceLoss.IsPresent)
            device.Launch(_balance, 1, parameters);
    }
}
