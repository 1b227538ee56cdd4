using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// A problem with its operands as the arguments that attention kernels share. An absent operand's view is another's: every
/// argument must have memory.
/// </summary>
internal static class AttentionArguments
{
    /// <summary>The code that merges splits.</summary>
    public static readonly GpuEntry<MergePartialStates.Parameters> Merge = new(
        MergePartialStates.MergeSplits, MergePartialStates.Threads, sizeof(float) * MergePartialStates.MaxSplits);

    /// <summary>A tensor [batchSize, tokens, heads, dim] whose type is chosen at run time.</summary>
    public static TypedTensor Typed(in GpuView view) => new()
    {
        Data = view.Data,
        BatchStride = view.Layout.Stride(0),
        TokenStride = view.Layout.Stride(1),
        HeadStride = view.Layout.Stride(2),
        HasQuads = view.HasQuads ? 1 : 0,
        Type = (int)view.Type, // the numbers of f32, f16 and bf16 are those of TypedTensor
    };

    /// <summary>Ranges of keys and transforms of scores.</summary>
    public static ScoreParameters Scores(in AttentionProblem problem, ReadOnlySpan<GpuView> operands)
    {
        GpuView bias = operands[AttentionProblem.Bias], mask = operands[AttentionProblem.Mask], blockMask = operands[AttentionProblem.BlockMask];
        GpuView windows = operands[AttentionProblem.HeadWindows], slopes = operands[AttentionProblem.AlibiSlopes];
        GpuView any = operands[AttentionProblem.Query];
        return new ScoreParameters
        {
            QueryOffsets = Or(operands[AttentionProblem.QueryOffsets], any).As<int>(),
            KvOffsets = Or(operands[AttentionProblem.KvOffsets], any).As<int>(),
            HeadWindows = Or(windows, any).As<int>(),
            AlibiSlopes = Or(slopes, any).As<float>(),
            Bias = Or(bias, any).Data,
            Mask = Or(mask, any).Data,
            BlockMask = Or(blockMask, any).Data,
            BiasBatchStride = BroadcastStride(bias, 0),
            BiasHeadStride = BroadcastStride(bias, 1),
            BiasRowStride = BroadcastStride(bias, 2),
            BiasKeyStride = (int)BroadcastStride(bias, 3),
            MaskBatchStride = BroadcastStride(mask, 0),
            MaskHeadStride = BroadcastStride(mask, 1),
            MaskRowStride = BroadcastStride(mask, 2),
            MaskKeyStride = (int)BroadcastStride(mask, 3),
            BlockBatchStride = Stride(blockMask, 0),
            BlockHeadStride = Stride(blockMask, 1),
            BlockRowStride = Stride(blockMask, 2),
            HeadWindowStride = Stride(windows, 0),
            SlopeStride = Stride(slopes, 0),
            IsRagged = problem.RaggedSequences > 0 ? 1 : 0,
            HasHeadWindows = windows.IsPresent ? 1 : 0,
            HasSlopes = slopes.IsPresent ? 1 : 0,
            HasBias = bias.IsPresent ? 1 : 0,
            HasMask = mask.IsPresent ? 1 : 0,
            BiasType = (int)problem.BiasType,
            MaskBlock = problem.MaskBlock,
            NumSequences = problem.NumSequences,
            NumHeads = problem.NumHeads,
            NumKvHeads = problem.NumKvHeads,
            GroupSize = problem.GroupSize,
            QueryLength = problem.QueryLength,
            KvLength = problem.KvLength,
            IsCausal = problem.IsCausal ? 1 : 0,
            IsTopLeft = problem.Alignment == CausalAlignment.TopLeft ? 1 : 0,
            WindowLeft = problem.WindowLeft,
            WindowRight = problem.WindowRight,
            SinkCount = problem.SinkCount,
            ChunkSize = problem.ChunkSize,
            SoftmaxScale = problem.Scale,
            LogitSoftCap = problem.LogitSoftCap,
        };
    }

    /// <summary>Whether there is nothing beyond what the kernels on mma know: causality, windows and ragged sequences.</summary>
    public static bool HasSequencesAlone(in AttentionProblem problem) => (problem with
    {
        WindowLeft = -1,
        WindowRight = -1,
        Alignment = CausalAlignment.BottomRight,
        RaggedSequences = 0,
    }).IsPlain;

    /// <summary>Sequences and ranges of keys for the kernels on mma.</summary>
    public static SequenceParameters Sequences(in AttentionProblem problem, ReadOnlySpan<GpuView> operands) => new()
    {
        QueryOffsets = operands[AttentionProblem.QueryOffsets].Address,
        KvOffsets = operands[AttentionProblem.KvOffsets].Address,
        Count = problem.RaggedSequences,
        QueryLength = problem.QueryLength,
        KvLength = problem.KvLength,
        IsTopLeft = problem.Alignment == CausalAlignment.TopLeft ? 1 : 0,
        WindowLeft = problem.WindowLeft < 0 ? int.MaxValue : problem.WindowLeft,
        WindowRight = problem.IsCausal ? 0 : problem.WindowRight < 0 ? int.MaxValue : problem.WindowRight,
    };

    /// <summary>Blocks of so many rows or keys that cover a sequence, or all ragged ones: each may leave one partly empty.</summary>
    public static long Blocks(in AttentionProblem problem, long rows, int size) =>
        problem.RaggedSequences > 0 ? rows / size + problem.RaggedSequences : (rows + size - 1) / size;

    /// <summary>How keys and values lie in a cache.</summary>
    public static CacheParameters Cache(in AttentionProblem problem, ReadOnlySpan<GpuView> operands)
    {
        GpuView lengths = operands[AttentionProblem.KvLengths], pages = operands[AttentionProblem.PageTable];
        GpuView slotBias = operands[AttentionProblem.SlotBias], any = operands[AttentionProblem.Query];
        GpuView keyScale = operands[AttentionProblem.KeyScale], valueScale = operands[AttentionProblem.ValueScale];
        return new CacheParameters
        {
            KvLengths = Or(lengths, any).As<int>(),
            PageTable = Or(pages, any).As<int>(),
            SlotBias = Or(slotBias, any).As<float>(),
            KeyScale = Or(keyScale, any).As<float>(),
            ValueScale = Or(valueScale, any).As<float>(),
            LengthStride = Stride(lengths, 0),
            PageBatchStride = Stride(pages, 0),
            PageHeadStride = Stride(pages, 1),
            SlotBatchStride = Stride(slotBias, 0),
            SlotHeadStride = Stride(slotBias, 1),
            KeyScaleBatchStride = Stride(keyScale, 0),
            KeyScaleHeadStride = Stride(keyScale, 1),
            ValueScaleBatchStride = Stride(valueScale, 0),
            ValueScaleHeadStride = Stride(valueScale, 1),
            HasLengths = lengths.IsPresent ? 1 : 0,
            HasSlotBias = slotBias.IsPresent ? 1 : 0,
            HasScales = keyScale.IsPresent ? 1 : 0,
            PageSize = problem.PageSize,
            IsHeadPaged = problem.IsHeadPaged ? 1 : 0,
        };
    }

    /// <summary>Gains and offsets, if they are to be applied.</summary>
    public static HeadEpilogue Epilogue(ReadOnlySpan<GpuView> operands, bool isLast)
    {
        GpuView gain = operands[AttentionProblem.HeadGain], offset = operands[AttentionProblem.HeadOffset], any = operands[AttentionProblem.Query];
        return new HeadEpilogue
        {
            Gain = Or(gain, any).As<float>(),
            Offset = Or(offset, any).As<float>(),
            OffsetStride = Stride(offset, 0),
            HasGain = isLast && gain.IsPresent ? 1 : 0,
            HasOffset = isLast && offset.IsPresent ? 1 : 0,
        };
    }

    /// <summary>Queues the merge of splits: [numSplits, rows, valueHeadDim] sums and then [numSplits, rows] log-sum-exps.</summary>
    public static void LaunchMerge(
        in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<float> scratch, int numSplits, GpuDevice device)
    {
        GpuView lse = operands[AttentionProblem.Lse];
        long rows = (long)problem.BatchSize * problem.NumHeads * problem.QueryLength;
        device.Launch(Merge, rows, new MergePartialStates.Parameters
        {
            PartialOutput = scratch,
            PartialLse = scratch.SubView(numSplits * rows * problem.ValueHeadDim),
            Output = Typed(operands[AttentionProblem.Output]),
            Lse = lse.IsPresent ? lse.As<float>() : scratch,
            Epilogue = Epilogue(operands, isLast: true),
            LseBatchStride = Stride(lse, 0),
            LseHeadStride = Stride(lse, 1),
            Rows = rows,
            HasLse = lse.IsPresent ? 1 : 0,
            NumSplits = numSplits,
            NumHeads = problem.NumHeads,
            QueryLength = problem.QueryLength,
            ValueHeadDim = problem.ValueHeadDim,
        });
    }

    /// <summary>The view, or <paramref name="other"/> when it is absent.</summary>
    public static GpuView Or(in GpuView view, in GpuView other) => view.IsPresent ? view : other;

    /// <summary>A stride, 0 when the operand is absent.</summary>
    public static long Stride(in GpuView view, int dimension) => view.IsPresent ? view.Layout.Stride(dimension) : 0;

    /// <summary>A stride, 0 where the operand repeats.</summary>
    public static long BroadcastStride(in GpuView view, int dimension) =>
        view.IsPresent && view.Layout[dimension] != 1 ? view.Layout.Stride(dimension) : 0;
}
