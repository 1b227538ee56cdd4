using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// Launches <see cref="GeneralAttention"/>: attention with every option, many rows or few. With few, the keys are split over
/// groups and <see cref="MergePartialStates"/> joins them.
/// </summary>
internal sealed class AttentionGeneral : GpuKernel<AttentionProblem>
{
    private readonly bool _isDecode;
    private readonly Lazy<AttentionInstances[]> _instances;

    public AttentionGeneral(string name, bool isDecode) : base(name)
    {
        _isDecode = isDecode;
        _instances = new Lazy<AttentionInstances[]>(isDecode ? CreateAll<GeneralDecodeTile> : CreateAll<GeneralForwardTile>);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
        [.. _instances.Value.SelectMany(i => i.Entries), .. _isDecode ? [AttentionArguments.Merge] : Array.Empty<GpuEntry>()];

    /// <inheritdoc/>
    public override string? WhyUnsupported(in AttentionProblem problem) =>
        problem.IsPlain && problem.KvType.IsFloat() ? "plain and causal attention have a kernel of their own" : null;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionProblem problem, GpuDevice device)
    {
        Plan plan = CreatePlan(problem, device);
        return plan.NumSplits > 1
            ? checked((long)plan.NumSplits * problem.BatchSize * problem.NumHeads * problem.QueryLength * (problem.ValueHeadDim + 1L) * sizeof(float)) : 0;
    }

    /// <inheritdoc/>
    public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        // The i8 instance stands fourth: DataType has another number between.
        int instance = problem.KvType == DataType.Int8 ? 3 : (int)problem.KvType;
        Plan plan = CreatePlan(problem, device);
        _instances.Value[instance].Launch(problem, operands, plan, workspace, device);
        if (plan.NumSplits > 1)
            AttentionArguments.LaunchMerge(problem, operands, workspace.Cast<float>(), plan.NumSplits, device);
    }

    /// <summary>How the work is cut.</summary>
    internal Plan CreatePlan(in AttentionProblem problem, GpuDevice device)
    {
        int blockRows = 4 * (_isDecode ? GeneralDecodeTile.ThreadsY : GeneralForwardTile.ThreadsY);
        long rows = (long)problem.GroupSize * problem.QueryLength;
        long rowBlocks = AttentionArguments.Blocks(problem, rows, blockRows);
        long groups = rowBlocks * problem.NumKvHeads * problem.BatchSize;
        int keyBlocks = (int)(((long)problem.KvLength + AttentionSplitKv.MinKeysPerSplit - 1) / AttentionSplitKv.MinKeysPerSplit);
        int splits = _isDecode
            ? AttentionSplitKv.Plan.ChooseSplits(groups, keyBlocks, AttentionSplitKv.GroupsPerComputeUnit * device.ComputeUnits) : 1;
        return new Plan(checked((int)rowBlocks), groups * splits, splits);
    }

    private static AttentionInstances[] CreateAll<TTile>() where TTile : struct, IGeneralTile =>
    [
        new Instances<TTile, float, Float32Storage>(),
        new Instances<TTile, ushort, Float16Storage>(),
        new Instances<TTile, ushort, BFloat16Storage>(),
        new Instances<TTile, sbyte, Int8Storage>(),
    ];

    /// <summary>Row blocks of each key/value head of each sequence (of all, when they are ragged), groups and splits.</summary>
    internal readonly record struct Plan(int RowBlocks, long Groups, int NumSplits);

    private abstract class AttentionInstances
    {
        public abstract IEnumerable<GpuEntry> Entries { get; }

        public abstract void Launch(
            in AttentionProblem problem, ReadOnlySpan<GpuView> operands, in Plan plan, ArrayView<byte> workspace, GpuDevice device);
    }

    private sealed class Instances<TTile, TKv, TKvStorage> : AttentionInstances
        where TTile : struct, IGeneralTile
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        private readonly GpuEntry<GeneralAttention.Parameters<TKv>> _entry = new(
            GeneralAttention.FlashAttentionGeneral<TTile, TKv, TKvStorage>, TTile.ThreadsX * TTile.ThreadsY,
            GeneralAttention.SharedBytes(TTile.ThreadsX, TTile.ThreadsY));

        public override IEnumerable<GpuEntry> Entries => [_entry];

        public override void Launch(
            in AttentionProblem problem, ReadOnlySpan<GpuView> operands, in Plan plan, ArrayView<byte> workspace, GpuDevice device)
        {
            GpuView lse = operands[AttentionProblem.Lse], output = operands[AttentionProblem.Output], sinks = operands[AttentionProblem.SinkLogits];
            var parameters = new GeneralAttention.Parameters<TKv>
            {
                Query = AttentionArguments.Typed(operands[AttentionProblem.Query]),
                Key = operands[AttentionProblem.Key].AsTokens<TKv>(),
                Value = operands[AttentionProblem.Value].AsTokens<TKv>(),
                Target = AttentionArguments.Typed(output),
                Lse = AttentionArguments.Or(lse, output).As<float>(),
                SinkLogits = AttentionArguments.Or(sinks, output).As<float>(),
                Scores = AttentionArguments.Scores(problem, operands),
                Cache = AttentionArguments.Cache(problem, operands),
                Epilogue = AttentionArguments.Epilogue(operands, isLast: plan.NumSplits == 1),
                LseBatchStride = AttentionArguments.Stride(lse, 0),
                LseHeadStride = AttentionArguments.Stride(lse, 1),
                HasLse = lse.IsPresent ? 1 : 0,
                HasSinkLogits = sinks.IsPresent ? 1 : 0,
                HeadDim = problem.HeadDim,
                ValueHeadDim = problem.ValueHeadDim,
                RowBlocks = plan.RowBlocks,
                NumSplits = plan.NumSplits,
            };
            if (plan.NumSplits > 1)
                ToScratch(problem, plan, workspace, ref parameters);
            device.Launch(_entry, plan.Groups, parameters);
        }

        private static void ToScratch(
            in AttentionProblem problem, in Plan plan, ArrayView<byte> workspace, ref GeneralAttention.Parameters<TKv> parameters)
        {
            long headRows = (long)problem.QueryLength * problem.ValueHeadDim;
            long rows = (long)problem.BatchSize * problem.NumHeads * problem.QueryLength;
            parameters.Target = new TypedTensor
            {
                Data = workspace,
                BatchStride = problem.NumHeads * headRows,
                TokenStride = problem.ValueHeadDim,
                HeadStride = headRows,
                HasQuads = problem.ValueHeadDim % 4 == 0 ? 1 : 0,
                Type = TypedTensor.Float32,
            };
            parameters.TargetSplitStride = rows * problem.ValueHeadDim;
            parameters.Lse = workspace.Cast<float>().SubView(plan.NumSplits * rows * problem.ValueHeadDim);
            parameters.LseSplitStride = rows;
            parameters.LseBatchStride = (long)problem.NumHeads * problem.QueryLength;
            parameters.LseHeadStride = problem.QueryLength;
            parameters.HasLse = 1;
        }
    }
}
