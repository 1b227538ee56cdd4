using ILGPU;
using KernelEngine.Kernels.Gpu.SparseAttention;

namespace KernelEngine;

/// <summary>Launches <see cref="ListedGradients"/>. Workspace: a float for each query row and head.</summary>
internal sealed class SparseAttentionBackwardRows() : GpuKernel<SparseAttentionBackwardProblem>("sparse-attention-backward/ilgpu")
{
    private readonly GpuEntry<ListedGradients.Parameters> _queries = new(
        ListedGradients.GradListedQueries, ListedGradients.Threads, ListedGradients.QuerySharedBytes);
    private readonly GpuEntry<ListedGradients.Parameters> _keys = new(
        ListedGradients.GradListedKeys, ListedGradients.Threads, ListedGradients.KeySharedBytes);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_queries, _keys];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseAttentionBackwardProblem problem, GpuDevice device) =>
        Math.Max(4, Rows(problem) * sizeof(float));

    /// <inheritdoc/>
    public override void Launch(
        in SparseAttentionBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView query = operands[SparseAttentionProblem.Query], gradLse = operands[SparseAttentionBackwardProblem.GradLse];
        GpuView gradQuery = operands[SparseAttentionBackwardProblem.GradQuery], gradKey = operands[SparseAttentionBackwardProblem.GradKey];
        GpuView gradValue = operands[SparseAttentionBackwardProblem.GradValue];
        var parameters = new ListedGradients.Parameters
        {
            Tensors = SparseAttentionArguments.CreateTensors(problem.Forward, operands),
            GradOutput = SparseAttentionArguments.AsTyped(operands[SparseAttentionBackwardProblem.GradOutput]),
            // What is absent is never written: the arguments need some memory all the same.
            GradQuery = SparseAttentionArguments.AsTyped(gradQuery.IsPresent ? gradQuery : query),
            GradKey = SparseAttentionArguments.AsTyped(gradKey.IsPresent ? gradKey : query),
            GradValue = SparseAttentionArguments.AsTyped(gradValue.IsPresent ? gradValue : query),
            GradLse = (gradLse.IsPresent ? gradLse : query).As<float>(),
            GradLseBatchStride = gradLse.IsPresent ? gradLse.Layout.Stride(0) : 0,
            GradLseHeadStride = gradLse.IsPresent ? gradLse.Layout.Stride(1) : 0,
            GradLseRowStride = gradLse.IsPresent ? gradLse.Layout.Stride(2) : 0,
            Deltas = workspace.Cast<float>(),
            NumKvHeads = problem.Forward.NumKvHeads,
            HasGradLse = gradLse.IsPresent ? 1 : 0,
            HasGradQuery = gradQuery.IsPresent ? 1 : 0,
            HasGradKey = gradKey.IsPresent ? 1 : 0,
            HasGradValue = gradValue.IsPresent ? 1 : 0,
            Scale = problem.Forward.Scale,
        };
        device.Launch(_queries, Rows(problem), parameters);
        if (gradKey.IsPresent || gradValue.IsPresent)
            device.Launch(_keys, (long)problem.Forward.BatchSize * problem.Forward.NumKvHeads * problem.Forward.KvLength, parameters);
    }

    private static long Rows(in SparseAttentionBackwardProblem problem) =>
        (long)problem.Forward.BatchSize * problem.Forward.NumHeads * problem.Forward.QueryLength;
}
