using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// Launches the kernels of attention's gradients: δ of every row, then each gradient that is wanted by groups that own its
/// elements. Nothing is added atomically: the same inputs give the same bits.
/// </summary>
internal sealed class AttentionBackwardTiled() : GpuKernel<AttentionBackwardProblem>("attention-backward/ilgpu-tiled")
{
    private static readonly GpuEntry<BackwardRows.Parameters> s_delta = new(
        BackwardRows.ComputeAttentionDelta, BackwardRows.Threads, sizeof(float) * BackwardRows.Threads);
    private readonly GpuEntry<BackwardRows.Parameters> _sumRows = new(
        BackwardRows.SumAttentionRows, BackwardRows.Threads, sizeof(float) * BackwardRows.Threads, hasQuadLoads: false);
    private readonly GpuEntry<BackwardParameters> _gradQuery = new(
        FlashGradQuery.FlashAttentionGradQuery, BackwardTile.Threads, BackwardTile.SharedBytes);
    private readonly GpuEntry<BackwardParameters> _gradKeyValue = new(
        FlashGradKeyValue.FlashAttentionGradKeyValue, BackwardTile.Threads, BackwardTile.SharedBytes);
    private readonly GpuEntry<BackwardParameters> _gradBias = new(
        FlashGradBias.FlashAttentionGradBias, BackwardTile.Threads, BackwardTile.SharedBytes);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [s_delta, _sumRows, _gradQuery, _gradKeyValue, _gradBias];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionBackwardProblem problem, GpuDevice device) =>
        checked(2 * Rows(problem.Forward) * sizeof(float));

    /// <inheritdoc/>
    public override void Launch(in AttentionBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        AttentionProblem forward = problem.Forward;
        GpuView query = operands[AttentionProblem.Query], lse = operands[AttentionProblem.Lse];
        GpuView gradQuery = operands[AttentionBackwardProblem.GradQuery], gradBias = operands[AttentionBackwardProblem.GradBias];
        GpuView gradSlopes = operands[AttentionBackwardProblem.GradAlibiSlopes];
        long rows = Rows(forward);
        // Without rows there is no scratch memory, and nothing reads what stands in for it.
        ArrayView<float> scratch = rows > 0 ? workspace.Cast<float>() : query.As<float>();
        ArrayView<float> rowSlopes = rows > 0 ? scratch.SubView(rows) : scratch;
        BackwardRows.Parameters rowParameters = RowParameters(problem, operands, scratch, rowSlopes);
        LaunchDelta(rowParameters, device);

        bool isWholeBias = gradBias.IsPresent && gradBias.Layout[0] == forward.BatchSize && gradBias.Layout[1] == forward.NumHeads
            && gradBias.Layout[2] == forward.QueryLength && gradBias.Layout[3] == forward.KvLength;
        var parameters = new BackwardParameters
        {
            Query = AttentionArguments.Typed(query),
            Key = AttentionArguments.Typed(operands[AttentionProblem.Key]),
            Value = AttentionArguments.Typed(operands[AttentionProblem.Value]),
            GradOutput = AttentionArguments.Typed(operands[AttentionBackwardProblem.GradOutput]),
            Target = AttentionArguments.Typed(query),
            GradBias = AttentionArguments.Typed(query),
            Lse = lse.As<float>(),
            Delta = scratch,
            RowSlopes = rowSlopes,
            Scores = AttentionArguments.Scores(forward, operands),
            LseBatchStride = lse.Layout.Stride(0),
            LseHeadStride = lse.Layout.Stride(1),
            HeadDim = forward.HeadDim,
            ValueHeadDim = forward.ValueHeadDim,
        };
        if (gradBias.IsPresent)
            SetBias(gradBias, ref parameters);
        LaunchGradKeyValue(_gradKeyValue, forward, operands[AttentionBackwardProblem.GradKey], isValue: false, parameters, device);
        LaunchGradKeyValue(_gradKeyValue, forward, operands[AttentionBackwardProblem.GradValue], isValue: true, parameters, device);
        if (gradBias.IsPresent && !isWholeBias)
        {
            long blocks = Blocks(gradBias.Layout[2]) * Blocks(gradBias.Layout[3]);
            device.Launch(_gradBias, blocks * gradBias.Layout[0] * gradBias.Layout[1], parameters);
        }
        if (gradQuery.IsPresent || isWholeBias || gradSlopes.IsPresent)
        {
            parameters.WritesBias = isWholeBias ? 1 : 0;
            parameters.WritesSlopes = gradSlopes.IsPresent ? 1 : 0;
            LaunchGradQuery(forward, gradQuery, parameters, device);
        }
        LaunchSums(forward, operands, rowParameters, device);
    }

    /// <summary>Queues the computation of δ, [batchSize, numHeads, queryLength], of a problem with rows.</summary>
    public static void LaunchDelta(
        in AttentionBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<float> delta, GpuDevice device) =>
        LaunchDelta(RowParameters(problem, operands, delta, delta), device);

    /// <summary>
    /// Queues the computation of −lse · log2 e and δ, [batchSize, numHeads, 2, rowsOfHead], of a problem with rows; past the queries, −∞ and 0.
    /// </summary>
    public static void LaunchStatistics(
        in AttentionBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<float> statistics, int rowsOfHead, GpuDevice device) =>
        LaunchDelta(RowParameters(problem, operands, statistics.SubView(rowsOfHead), statistics) with
        {
            Shift = statistics,
            HasShift = 1,
            RowsOfHead = rowsOfHead,
            RowPitch = 2 * rowsOfHead,
            NumRows = (long)problem.Forward.BatchSize * problem.Forward.NumHeads * rowsOfHead,
        }, device);

    private static void LaunchDelta(in BackwardRows.Parameters parameters, GpuDevice device) =>
        device.Launch(s_delta, (parameters.NumRows + BackwardRows.RowsOfGroup - 1) / BackwardRows.RowsOfGroup, parameters);

    private static long Rows(in AttentionProblem forward) => (long)forward.BatchSize * forward.NumHeads * forward.QueryLength;

    private static long Blocks(long length) => (length + BackwardTile.Size - 1) / BackwardTile.Size;

    private static int Chunks(int dim) => (dim + BackwardTile.Columns - 1) / BackwardTile.Columns;

    private static void SetBias(in GpuView gradBias, ref BackwardParameters parameters)
    {
        parameters.GradBias = AttentionArguments.Typed(gradBias) with
        {
            BatchStride = gradBias.Layout.Stride(0),
            HeadStride = gradBias.Layout.Stride(1),
            TokenStride = gradBias.Layout.Stride(2),
        };
        parameters.BiasBatches = (int)gradBias.Layout[0];
        parameters.BiasHeads = (int)gradBias.Layout[1];
        parameters.BiasRows = (int)gradBias.Layout[2];
        parameters.BiasKeys = (int)gradBias.Layout[3];
    }

    private static BackwardRows.Parameters RowParameters(
        in AttentionBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<float> delta, ArrayView<float> rowSlopes)
    {
        GpuView query = operands[AttentionProblem.Query], lse = operands[AttentionProblem.Lse], gradLse = operands[AttentionBackwardProblem.GradLse];
        return new BackwardRows.Parameters
        {
            Output = AttentionArguments.Typed(operands[AttentionProblem.Output]),
            GradOutput = AttentionArguments.Typed(operands[AttentionBackwardProblem.GradOutput]),
            GradLse = AttentionArguments.Or(gradLse, query).As<float>(),
            Lse = lse.As<float>(),
            Delta = delta,
            Shift = delta,
            RowSlopes = rowSlopes,
            SinkLogits = AttentionArguments.Or(operands[AttentionProblem.SinkLogits], query).As<float>(),
            Target = query.As<float>(),
            QueryOffsets = AttentionArguments.Or(operands[AttentionProblem.QueryOffsets], query).As<int>(),
            GradLseBatchStride = AttentionArguments.Stride(gradLse, 0),
            GradLseHeadStride = AttentionArguments.Stride(gradLse, 1),
            LseBatchStride = lse.Layout.Stride(0),
            LseHeadStride = lse.Layout.Stride(1),
            NumRows = Rows(problem.Forward),
            HasGradLse = gradLse.IsPresent ? 1 : 0,
            IsRagged = problem.Forward.RaggedSequences > 0 ? 1 : 0,
            BatchSize = problem.Forward.BatchSize,
            NumHeads = problem.Forward.NumHeads,
            QueryLength = problem.Forward.QueryLength,
            ValueHeadDim = problem.Forward.ValueHeadDim,
            RowsOfHead = problem.Forward.QueryLength,
            RowPitch = problem.Forward.QueryLength,
        };
    }

    private void LaunchGradQuery(in AttentionProblem forward, in GpuView gradQuery, BackwardParameters parameters, GpuDevice device)
    {
        long rows = (long)forward.GroupSize * forward.QueryLength;
        long blocks = AttentionArguments.Blocks(forward, rows, BackwardTile.Size);
        if (gradQuery.IsPresent)
            parameters.Target = AttentionArguments.Typed(gradQuery);
        parameters.HasTarget = gradQuery.IsPresent ? 1 : 0;
        parameters.Blocks = checked((int)blocks);
        parameters.Chunks = gradQuery.IsPresent ? Chunks(forward.HeadDim) : 1;
        device.Launch(_gradQuery, blocks * parameters.Chunks * forward.NumKvHeads * forward.BatchSize, parameters);
    }

    private static void LaunchGradKeyValue(
        GpuEntry<BackwardParameters> entry, in AttentionProblem forward, in GpuView target, bool isValue, BackwardParameters parameters,
        GpuDevice device)
    {
        if (!target.IsPresent)
            return;
        long blocks = AttentionArguments.Blocks(forward, forward.KvLength, BackwardTile.Size);
        parameters.Target = AttentionArguments.Typed(target);
        parameters.HasTarget = 1;
        parameters.IsValue = isValue ? 1 : 0;
        parameters.Blocks = checked((int)blocks);
        parameters.Chunks = Chunks(isValue ? forward.ValueHeadDim : forward.HeadDim);
        device.Launch(entry, blocks * parameters.Chunks * forward.NumKvHeads * forward.BatchSize, parameters);
    }

    private void LaunchSums(
        in AttentionProblem forward, ReadOnlySpan<GpuView> operands, BackwardRows.Parameters parameters, GpuDevice device)
    {
        GpuView gradSinks = operands[AttentionBackwardProblem.GradSinkLogits], gradSlopes = operands[AttentionBackwardProblem.GradAlibiSlopes];
        if (gradSinks.IsPresent)
        {
            parameters.Target = gradSinks.As<float>();
            device.Launch(_sumRows, forward.NumHeads, parameters);
        }
        if (gradSlopes.IsPresent)
        {
            parameters.IsSlope = 1;
            parameters.Target = gradSlopes.As<float>();
            parameters.TargetStride = gradSlopes.Layout.Stride(0);
            device.Launch(_sumRows, (long)forward.NumSequences * forward.NumHeads, parameters);
        }
    }
}
