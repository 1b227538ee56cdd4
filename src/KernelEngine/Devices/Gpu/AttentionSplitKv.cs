using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="FlashDecode"/>, and <see cref="MergePartialStates"/> when the keys were split.</summary>
internal sealed class AttentionSplitKv() : GpuAttentionKernel("attention-decode/ilgpu-split-kv")
{
    // A group of 64 threads fills an eighth of a compute unit or less; and splits of less than 256 keys cost more in
    // merging than they gain in parallel work.
    internal const int GroupsPerComputeUnit = 8, MinKeysPerSplit = 256;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionProblem problem, GpuDevice device)
    {
        Plan plan = Plan.Create(problem, device);
        return plan.NumSplits > 1 ? checked(plan.NumSplits * plan.Rows * (problem.ValueHeadDim + 1L) * sizeof(float)) : 0;
    }

    protected override AttentionInstances Create<TQuery, TQueryStorage, TKv, TKvStorage>() =>
        new Instances<TQuery, TQueryStorage, TKv, TKvStorage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. base.Entries, AttentionArguments.Merge];

    /// <summary>How the work is cut.</summary>
    internal readonly record struct Plan(int RowBlock, int RowBlocks, int NumSplits, int KeysPerSplit, long Rows)
    {
        public static Plan Create(in AttentionProblem problem, GpuDevice device)
        {
            long packedRows = (long)problem.GroupSize * problem.QueryLength;
            int rowBlock = packedRows <= DecodeTile1.Rows ? DecodeTile1.Rows : packedRows <= DecodeTile4.Rows ? DecodeTile4.Rows : DecodeTile8.Rows;
            int rowBlocks = checked((int)((packedRows + rowBlock - 1) / rowBlock));
            int keyBlocks = (int)(((long)problem.KvLength + MinKeysPerSplit - 1) / MinKeysPerSplit);
            long groups = (long)problem.BatchSize * problem.NumKvHeads * rowBlocks;
            int wanted = ChooseSplits(groups, keyBlocks, GroupsPerComputeUnit * device.ComputeUnits);
            int blocksPerSplit = (keyBlocks + wanted - 1) / wanted;
            int splits = keyBlocks == 0 ? 1 : (keyBlocks + blocksPerSplit - 1) / blocksPerSplit;
            int keysPerSplit = (int)Math.Min((long)Math.Max(blocksPerSplit, 1) * MinKeysPerSplit, int.MaxValue - FlashDecode.Threads);
            return new Plan(rowBlock, rowBlocks, splits, keysPerSplit, (long)problem.BatchSize * problem.NumHeads * problem.QueryLength);
        }

        // The fewest splits whose last wave of groups is nearly as full as the fullest possible (FlashAttention-2's rule).
        internal static int ChooseSplits(long groups, int keyBlocks, int units)
        {
            int most = Math.Min(Math.Min(MergePartialStates.MaxSplits, units), keyBlocks);
            if (groups == 0 || groups >= 0.8 * units || most <= 1)
                return 1;
            double best = 0;
            for (int splits = 1; splits <= most; splits++)
                best = Math.Max(best, Fullness(splits));
            int chosen = 1;
            while (Fullness(chosen) < 0.85 * best)
                chosen++;
            return chosen;

            double Fullness(int splits)
            {
                double waves = (double)groups * splits / units;
                return waves / Math.Ceiling(waves);
            }
        }
    }

    private sealed class Instances<TQuery, TQueryStorage, TKv, TKvStorage> : AttentionInstances
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        private readonly GpuEntry<FlashDecode.Parameters<TQuery, TKv>> _tile1 = Entry<DecodeTile1>();
        private readonly GpuEntry<FlashDecode.Parameters<TQuery, TKv>> _tile4 = Entry<DecodeTile4>();
        private readonly GpuEntry<FlashDecode.Parameters<TQuery, TKv>> _tile8 = Entry<DecodeTile8>();

        public override IEnumerable<GpuEntry> Entries => [_tile1, _tile4, _tile8];

        public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
        {
            Plan plan = Plan.Create(problem, device);
            GpuView lse = operands[AttentionProblem.Lse];
            ArrayView<float> scratch = plan.NumSplits > 1 ? workspace.Cast<float>() : operands[AttentionProblem.Output].As<float>();
            ArrayView<float> partialLse = plan.NumSplits > 1 ? scratch.SubView(plan.NumSplits * plan.Rows * problem.ValueHeadDim) : scratch;
            long groups = (long)plan.NumSplits * plan.RowBlocks * problem.NumKvHeads * problem.BatchSize;
            device.Launch(plan.RowBlock == 1 ? _tile1 : plan.RowBlock == 4 ? _tile4 : _tile8, groups, new FlashDecode.Parameters<TQuery, TKv>
            {
                Query = operands[AttentionProblem.Query].AsTokens<TQuery>(),
                Key = operands[AttentionProblem.Key].AsTokens<TKv>(),
                Value = operands[AttentionProblem.Value].AsTokens<TKv>(),
                Output = operands[AttentionProblem.Output].AsTokens<TQuery>(),
                Lse = lse.IsPresent ? lse.As<float>() : scratch,
                LseBatchStride = lse.IsPresent ? lse.Layout.Stride(0) : 0,
                LseHeadStride = lse.IsPresent ? lse.Layout.Stride(1) : 0,
                HasLse = lse.IsPresent ? 1 : 0,
                IsCausal = problem.IsCausal ? 1 : 0,
                BatchSize = problem.BatchSize,
                NumHeads = problem.NumHeads,
                NumKvHeads = problem.NumKvHeads,
                GroupSize = problem.GroupSize,
                QueryLength = problem.QueryLength,
                KvLength = problem.KvLength,
                HeadDim = problem.HeadDim,
                ValueHeadDim = problem.ValueHeadDim,
                RowBlocks = plan.RowBlocks,
                NumSplits = plan.NumSplits,
                KeysPerSplit = plan.KeysPerSplit,
                ValueShift = problem.ValueHeadDim <= 64 ? 4 : problem.ValueHeadDim <= 128 ? 5 : 6,
                SoftmaxScaleLog2 = problem.Scale * 1.44269504f,
                PartialOutput = scratch,
                PartialLse = partialLse,
            });
            if (plan.NumSplits > 1)
                AttentionArguments.LaunchMerge(problem, operands, scratch, plan.NumSplits, device);
        }

        private static GpuEntry<FlashDecode.Parameters<TQuery, TKv>> Entry<TTile>() where TTile : struct, IDecodeTile => new(
            FlashDecode.FlashDecodeSplitKv<TTile, TQuery, TQueryStorage, TKv, TKvStorage>, FlashDecode.Threads,
            TTile.Rows * 4 * (FlashDecode.MaxHeadDim + FlashDecode.Threads) + 16 * 8 * FlashDecode.Threads + 4 * FlashDecode.Threads);
    }
}
