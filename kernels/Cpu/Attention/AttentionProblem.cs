using System.Globalization;

namespace KernelEngine;

/// <summary>
/// Scaled dot-product attention: per head, query head h using key/value head h div (numHeads / numKvHeads),
/// <code>
/// x = scale · query · keyᵀ        a = softCap · tanh(x / softCap), or x without a cap
/// a += −slope · |i + offset − j| + bias + slotBias       a = −∞ where a mask or a window hides key j from row i
/// p = softmax over the keys and the sink logit           output = gain · p · value + offset
/// </code>
/// with offset = kvLength − queryLength of the sequence (0 when aligned top-left). Forward and decode share it, and the
/// backward pass is made of it. Text form: <c>b=1 h=32 kv=8 q=1 k=4096 d=128 causal bf16</c>.
/// </summary>
/// <param name="BatchSize">Sequences (<c>b</c>); 1 when <see cref="RaggedSequences"/> share the rows.</param>
/// <param name="NumHeads">Query heads (<c>h</c>).</param>
/// <param name="NumKvHeads">Key/value heads (<c>kv</c>, default h); divides the query heads.</param>
/// <param name="QueryLength">Query rows of each sequence (<c>q</c>), or of all ragged sequences together.</param>
/// <param name="KvLength">Keys of each sequence (<c>k</c>), the most where lengths vary, or those of all ragged sequences together.</param>
/// <param name="HeadDim">Elements of a query or key row (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value or output row (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="IsCausal">Row i sees no key after its own position i + offset (<c>causal</c>).</param>
/// <param name="SoftmaxScale">Factor on the scores (<c>scale</c>); null for 1/√HeadDim.</param>
/// <param name="Type">Storage of query and output (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
/// <param name="KvType">Storage of key and value (<c>kvtype=bf16</c>, default <see cref="Type"/>); i8 with a scale a row and head.</param>
public readonly record struct AttentionProblem(
    int BatchSize, int NumHeads, int NumKvHeads, int QueryLength, int KvLength, int HeadDim, int ValueHeadDim,
    bool IsCausal = false, float? SoftmaxScale = null, DataType Type = DataType.Float32, DataType KvType = DataType.Float32)
    : IProblem<AttentionProblem>
{
    /// <summary>The longest head dimension.</summary>
    public const int MaxHeadDim = 256;

    /// <summary>Index of the query operand, [batchSize, queryLength, numHeads, headDim].</summary>
    public const int Query = 0;

    /// <summary>Index of the key operand, [batchSize, kvLength, numKvHeads, headDim], or pages of it.</summary>
    public const int Key = 1;

    /// <summary>Index of the value operand, [batchSize, kvLength, numKvHeads, valueHeadDim], or pages of it.</summary>
    public const int Value = 2;

    /// <summary>Index of the output operand, [batchSize, queryLength, numHeads, valueHeadDim].</summary>
    public const int Output = 3;

    /// <summary>
    /// Index of the optional log-sum-exp operand, f32 [batchSize, numHeads, queryLength]: natural log of Σ exp(score), sink
    /// included, −∞ for a row that sees no key.
    /// </summary>
    public const int Lse = 4;

    /// <summary>Index of <see cref="AttentionOperands.AlibiSlopes"/>.</summary>
    public const int AlibiSlopes = 5;

    /// <summary>Index of the additive bias, [1 or batchSize, 1 or numHeads, 1 or queryLength, 1 or kvLength].</summary>
    public const int Bias = 6;

    /// <summary>Index of the boolean mask (true: attend), shaped as the bias.</summary>
    public const int Mask = 7;

    /// <summary>Index of the block mask, boolean [batchSize, numHeads, ⌈queryLength / block⌉, ⌈kvLength / block⌉].</summary>
    public const int BlockMask = 8;

    /// <summary>Index of <see cref="AttentionOperands.SinkLogits"/>.</summary>
    public const int SinkLogits = 9;

    /// <summary>Index of <see cref="AttentionOperands.HeadWindows"/>.</summary>
    public const int HeadWindows = 10;

    /// <summary>Index of the query offsets, i32 [raggedSequences + 1]: sequence s owns rows offsets[s] .. offsets[s + 1] − 1.</summary>
    public const int QueryOffsets = 11;

    /// <summary>Index of the key offsets, i32 [raggedSequences + 1].</summary>
    public const int KvOffsets = 12;

    /// <summary>Index of <see cref="AttentionOperands.KvLengths"/>.</summary>
    public const int KvLengths = 13;

    /// <summary>
    /// Index of the page table, i32 [batchSize, numKvHeads, ⌈kvLength / pageSize⌉]: the page of each run of keys. Entries
    /// past a sequence's length are not read.
    /// </summary>
    public const int PageTable = 14;

    /// <summary>Index of <see cref="AttentionOperands.SlotBias"/>.</summary>
    public const int SlotBias = 15;

    /// <summary>
    /// Index of the key scales of i8 storage, f32 [batchSize, numKvHeads, kvLength], or in pages
    /// [poolPages, headsOfAPage, pageSize]: those of neighbouring keys are neighbours.
    /// </summary>
    public const int KeyScale = 16;

    /// <summary>Index of the value scales of i8 storage, shaped as the key scales.</summary>
    public const int ValueScale = 17;

    /// <summary>Index of <see cref="AttentionOperands.HeadGain"/>.</summary>
    public const int HeadGain = 18;

    /// <summary>Index of <see cref="AttentionOperands.HeadOffset"/>.</summary>
    public const int HeadOffset = 19;

    /// <summary>How many operands there are, absent ones included.</summary>
    public const int Count = 20;

    /// <summary>Where a row stands among the keys (<c>topleft</c>).</summary>
    public CausalAlignment Alignment { get; init; }

    /// <summary>Keys before its own position that a row sees (<c>left</c>); −1 for all.</summary>
    public int WindowLeft { get; init; } = -1;

    /// <summary>Keys after its own position that a row sees (<c>right</c>); −1 for all. Causal attention sees none.</summary>
    public int WindowRight { get; init; } = -1;

    /// <summary>First keys that stay visible outside the window (<c>sinks</c>; arXiv:2309.17453).</summary>
    public int SinkCount { get; init; }

    /// <summary>Rows see keys of their own chunk of this many positions alone (<c>chunk</c>); 0 for no chunks.</summary>
    public int ChunkSize { get; init; }

    /// <summary>Scores x become softCap · tanh(x / softCap) (<c>softcap</c>); 0 for no cap.</summary>
    public float LogitSoftCap { get; init; }

    /// <summary>The optional inputs.</summary>
    public AttentionOperands Operands { get; init; }

    /// <summary>Shape of the additive bias (<c>bias=hqk</c>).</summary>
    public BroadcastShape BiasShape { get; init; }

    /// <summary>Storage of the bias (<c>biastype=bf16</c>, default f32).</summary>
    public DataType BiasType { get; init; }

    /// <summary>Shape of the boolean mask (<c>mask=bqk</c>).</summary>
    public BroadcastShape MaskShape { get; init; }

    /// <summary>Rows and keys that one element of the block mask stands for (<c>block</c>); 0 for no block mask.</summary>
    public int MaskBlock { get; init; }

    /// <summary>Sequences of different lengths laid end to end (<c>ragged</c>); 0 for a batch of equal ones.</summary>
    public int RaggedSequences { get; init; }

    /// <summary>Keys of a page (<c>page</c>); 0 when keys and values lie side by side.</summary>
    public int PageSize { get; init; }

    /// <summary>Pages in the pool that the page table points into (<c>pool</c>).</summary>
    public int PoolPages { get; init; }

    /// <summary>A page holds keys of one head, [poolPages, pageSize, 1, headDim], not of all (<c>headpages</c>).</summary>
    public bool IsHeadPaged { get; init; }

    /// <summary>Query heads that share one key/value head.</summary>
    public int GroupSize => NumHeads / NumKvHeads;

    /// <summary>The factor on the scores.</summary>
    public float Scale => SoftmaxScale ?? 1f / MathF.Sqrt(HeadDim);

    /// <summary>Sequences, ragged or not.</summary>
    public int NumSequences => RaggedSequences > 0 ? RaggedSequences : BatchSize;

    /// <summary>Whether scores change between the product and the softmax: soft cap, linear bias, bias, slot bias or boolean mask.</summary>
    public bool HasScoreTransform =>
        LogitSoftCap > 0 || BiasShape != 0 || MaskShape != 0 || MaskBlock > 0 || Has(AttentionOperands.AlibiSlopes | AttentionOperands.SlotBias);

    /// <summary>Whether some rows see only part of the keys that come before their last.</summary>
    public bool HasWindow => WindowLeft >= 0 || ChunkSize > 0 || Has(AttentionOperands.HeadWindows);

    /// <summary>The problem without options beyond causality, scale and types.</summary>
    public bool IsPlain => this == new AttentionProblem(
        BatchSize, NumHeads, NumKvHeads, QueryLength, KvLength, HeadDim, ValueHeadDim, IsCausal, SoftmaxScale, Type, KvType);

    /// <summary>Whether any of <paramref name="operands"/> is present.</summary>
    public bool Has(AttentionOperands operands) => (Operands & operands) != 0;

    /// <summary>Keys that query row <paramref name="row"/> sees in a problem without windows: 0 .. result − 1.</summary>
    public int VisibleKeys(int row) => IsCausal ? (int)Math.Clamp((long)row + 1 + KvLength - QueryLength, 0, KvLength) : KvLength;

    /// <summary>The keys that one row of a sequence sees.</summary>
    /// <param name="row">The row within its sequence.</param>
    /// <param name="queryLength">Rows of the sequence.</param>
    /// <param name="kvLength">Its keys.</param>
    /// <param name="windowLeft">The head's left window, −1 for unbounded.</param>
    /// <param name="sinkCount">The head's sinks.</param>
    public KeyRange GetRange(int row, int queryLength, int kvLength, int windowLeft, int sinkCount)
    {
        long position = row + (Alignment == CausalAlignment.TopLeft ? 0L : (long)kvLength - queryLength);
        long right = IsCausal ? 0 : WindowRight;
        long end = right < 0 ? kvLength : Math.Clamp(position + right + 1, 0, kvLength);
        long first = windowLeft < 0 ? 0 : Math.Clamp(position - windowLeft, 0, end);
        long sinkEnd = Math.Min(sinkCount, end);
        if (ChunkSize > 0)
        {
            long chunk = (position >= 0 ? position / ChunkSize : -((-position + ChunkSize - 1) / ChunkSize)) * ChunkSize;
            end = Math.Clamp(chunk + ChunkSize, 0, end);
            first = Math.Clamp(chunk, first, Math.Max(first, end));
        }
        if (first >= end)
            return new KeyRange(0, 0, (int)sinkEnd);
        return sinkEnd >= first ? new KeyRange(0, 0, (int)Math.Max(sinkEnd, end)) : new KeyRange((int)sinkEnd, (int)first, (int)end);
    }

    /// <inheritdoc/>
    public int OperandCount => Count;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Query => new("query", OperandRole.Input, Type, TensorLayout.Contiguous(BatchSize, QueryLength, NumHeads, HeadDim),
            "batchSize, queryLength, numHeads, headDim"),
        Key => KeyOrValue("key", HeadDim, "batchSize, kvLength, numKvHeads, headDim", "poolPages, pageSize, headsOfAPage, headDim"),
        Value => KeyOrValue(
            "value", ValueHeadDim, "batchSize, kvLength, numKvHeads, valueHeadDim", "poolPages, pageSize, headsOfAPage, valueHeadDim"),
        Output => new("output", OperandRole.Output, Type, TensorLayout.Contiguous(BatchSize, QueryLength, NumHeads, ValueHeadDim),
            "batchSize, queryLength, numHeads, valueHeadDim"),
        Lse => new("lse", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(BatchSize, NumHeads, QueryLength),
            "batchSize, numHeads, queryLength", IsOptional: true),
        AlibiSlopes => Has(AttentionOperands.AlibiSlopes)
            ? new("alibiSlopes", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(NumSequences, NumHeads), "sequences, numHeads",
                Values: OperandValues.Uniform)
            : Operand.Absent("alibiSlopes"),
        Bias => BiasShape != 0
            ? new("bias", OperandRole.Input, BiasType, Broadcast(BiasShape), "batchSize, numHeads, queryLength, kvLength")
            : Operand.Absent("bias"),
        Mask => MaskShape != 0
            ? new("mask", OperandRole.Input, DataType.Boolean, Broadcast(MaskShape), "batchSize, numHeads, queryLength, kvLength",
                Values: OperandValues.Below(2))
            : Operand.Absent("mask"),
        BlockMask => MaskBlock > 0
            ? new("blockMask", OperandRole.Input, DataType.Boolean,
                TensorLayout.Contiguous(BatchSize, NumHeads, Blocks(QueryLength, MaskBlock), Blocks(KvLength, MaskBlock)),
                "batchSize, numHeads, queryBlocks, keyBlocks", Values: OperandValues.Below(2))
            : Operand.Absent("blockMask"),
        SinkLogits => Has(AttentionOperands.SinkLogits)
            ? new("sinkLogits", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(NumHeads), "numHeads")
            : Operand.Absent("sinkLogits"),
        HeadWindows => Has(AttentionOperands.HeadWindows)
            ? new("headWindows", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(NumHeads, 2), "numHeads, windowAndSinks",
                Values: OperandValues.Between(-1, Math.Max(1, KvLength)))
            : Operand.Absent("headWindows"),
        QueryOffsets => Offsets("queryOffsets", QueryLength),
        KvOffsets => Offsets("kvOffsets", KvLength),
        KvLengths => Has(AttentionOperands.KvLengths)
            ? new("kvLengths", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(BatchSize, NumKvHeads), "batchSize, numKvHeads",
                Values: OperandValues.Between(0, KvLength))
            : Operand.Absent("kvLengths"),
        PageTable => PageSize > 0
            ? new("pageTable", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(BatchSize, NumKvHeads, Blocks(KvLength, PageSize)),
                "batchSize, numKvHeads, pages", Values: OperandValues.Below(PoolPages))
            : Operand.Absent("pageTable"),
        SlotBias => Has(AttentionOperands.SlotBias)
            ? new("slotBias", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(BatchSize, NumKvHeads, KvLength),
                "batchSize, numKvHeads, kvLength")
            : Operand.Absent("slotBias"),
        KeyScale => Scales("keyScale"),
        ValueScale => Scales("valueScale"),
        HeadGain => Has(AttentionOperands.HeadGain)
            ? new("headGain", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(NumHeads), "numHeads")
            : Operand.Absent("headGain"),
        HeadOffset => Has(AttentionOperands.HeadOffset)
            ? new("headOffset", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(NumHeads, ValueHeadDim), "numHeads, valueHeadDim")
            : Operand.Absent("headOffset"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <summary>Pairs of a query row and a key that it sees, over all sequences and query heads; an upper bound where operands decide.</summary>
    public double VisiblePairs
    {
        get
        {
            double pairs = 0;
            if (RaggedSequences > 0 || (!HasWindow && WindowRight < 0 && Alignment == CausalAlignment.BottomRight))
            {
                pairs = IsCausal
                    ? (Math.Max(0.0, KvLength - QueryLength) + KvLength) / 2 * Math.Min(QueryLength, KvLength)
                    : (double)QueryLength * KvLength;
            }
            else
            {
                for (int row = 0; row < QueryLength; row++)
                    pairs += GetRange(row, QueryLength, KvLength, WindowLeft, SinkCount).Count;
            }
            return pairs * BatchSize * NumHeads;
        }
    }

    /// <inheritdoc/>
    public double Flops => 2.0 * VisiblePairs * (HeadDim + ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes =>
        (double)BatchSize * (HeadDim + ValueHeadDim)
        * ((double)NumHeads * QueryLength * Type.SizeInBytes() + (double)NumKvHeads * KvLength * KvType.SizeInBytes());

    /// <inheritdoc/>
    public string? FindError() =>
        BatchSize < 0 || QueryLength < 0 || KvLength < 0 || NumHeads < 0 ? "Sizes must not be negative."
        : NumKvHeads < 1 || NumHeads % NumKvHeads != 0
            ? $"numHeads must be a multiple of numKvHeads but {NumHeads} is no multiple of {NumKvHeads}."
        : FindHeadDimError(HeadDim, ValueHeadDim) is { } headDimError ? headDimError
        : !float.IsFinite(Scale) ? "softmaxScale must be finite."
        : !(LogitSoftCap >= 0) || !float.IsFinite(LogitSoftCap) ? $"logitSoftCap must be 0 or positive but is {LogitSoftCap}."
        : !Type.IsFloat() ? $"Attention takes f32, f16 or bf16 tensors, not {Type.ToText()}."
        : !BiasType.IsFloat() ? $"A bias is f32, f16 or bf16, not {BiasType.ToText()}; a boolean one is a mask."
        : !KvType.IsFloat() && KvType != DataType.Int8 ? $"Attention takes f32, f16, bf16 or i8 keys and values, not {KvType.ToText()}."
        : WindowLeft < -1 || WindowRight < -1 ? "A window is −1 (unbounded) or a number of keys."
        : SinkCount < 0 || ChunkSize < 0 || MaskBlock < 0 || RaggedSequences < 0 || PageSize < 0 || PoolPages < 0 ? "Sizes must not be negative."
        : SinkCount > 0 && !HasWindow ? "Sinks are keys that stay visible outside a window, and there is none."
        : PageSize > 0 && PoolPages == 0 && KvLength > 0 ? "Paged keys need a pool of at least one page."
        : PageSize == 0 && (PoolPages > 0 || IsHeadPaged) ? "A pool of pages needs a page size."
        : RaggedSequences > 0 ? FindRaggedError()
        : null;

    /// <summary>Null when rows of keys and values have lengths that attention takes.</summary>
    public static string? FindHeadDimError(int headDim, int valueHeadDim) =>
        headDim is < 1 or > MaxHeadDim ? $"headDim must be 1 to {MaxHeadDim} but is {headDim}."
        : valueHeadDim is < 1 or > MaxHeadDim ? $"valueHeadDim must be 1 to {MaxHeadDim} but is {valueHeadDim}."
        : null;

    /// <summary>Null when no head has more keys than there is room for, and those lie in pages of the pool.</summary>
    /// <param name="lengths">i32 [batchSize, numKvHeads]; absent when every head has all keys</param>
    /// <param name="table">i32 [batchSize, numKvHeads, pages]; absent when keys lie side by side</param>
    /// <param name="batchSize">Sequences.</param>
    /// <param name="numKvHeads">Key/value heads.</param>
    /// <param name="kvLength">Keys that there is room for.</param>
    /// <param name="pageSize">Keys of a page.</param>
    /// <param name="poolPages">Pages of the pool.</param>
    internal static string? FindLengthError(
        in RawView lengths, in RawView table, int batchSize, int numKvHeads, int kvLength, int pageSize, int poolPages)
    {
        for (int b = 0; b < batchSize; b++)
        {
            for (int h = 0; h < numKvHeads; h++)
            {
                int length = lengths.IsPresent ? lengths.ReadInt32(b, h) : kvLength;
                if (length < 0 || length > kvLength)
                    return $"kvLengths[{b}, {h}] must be 0 to kvLength={kvLength} but is {length}.";
                for (int page = 0; table.IsPresent && (long)page * pageSize < length; page++)
                {
                    if (table.ReadInt32(b, h, page) is var number && (uint)number >= (uint)poolPages)
                        return $"pageTable[{b}, {h}, {page}] must be 0 to {poolPages - 1} but is {number}.";
                }
            }
        }
        return null;
    }

    /// <inheritdoc/>
    public static string? FindContentError(in AttentionProblem problem, ReadOnlySpan<RawView> operands) => problem.FindContentError(operands);

    private string? FindContentError(ReadOnlySpan<RawView> operands)
    {
        if (RaggedSequences > 0)
            return FindOffsetError("queryOffsets", operands[QueryOffsets], QueryLength) ?? FindOffsetError("kvOffsets", operands[KvOffsets], KvLength);
        RawView lengths = operands[KvLengths], table = operands[PageTable], windows = operands[HeadWindows];
        for (int h = 0; windows.IsPresent && h < NumHeads; h++)
        {
            for (int i = 0; i < 2; i++)
            {
                if (windows.ReadInt32(h, i) is < -1 and var window)
                    return $"headWindows[{h}, {i}] must be −1 or a number of keys but is {window}.";
            }
        }
        return !lengths.IsPresent && !table.IsPresent
            ? null
            : FindLengthError(lengths, table, BatchSize, NumKvHeads, KvLength, PageSize, PoolPages);
    }

    /// <inheritdoc/>
    public static AttentionProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int heads = text.TakeSize("h", 1), headDim = text.TakeSize("d");
        DataType type = text.TakeType(DataType.Float32);
        float scale = text.TakeNumber("scale", float.NaN);
        var operands = AttentionOperands.None;
        foreach ((string word, AttentionOperands operand) in s_words)
            operands |= text.TakeFlag(word) ? operand : 0;
        return new AttentionProblem(
            text.TakeSize("b", 1), heads, text.TakeSize("kv", heads), text.TakeSize("q"), text.TakeSize("k"),
            headDim, text.TakeSize("dv", headDim), text.TakeFlag("causal"), float.IsNaN(scale) ? null : scale,
            type, text.TakeKvType("kvtype", type))
        {
            Alignment = text.TakeFlag("topleft") ? CausalAlignment.TopLeft : CausalAlignment.BottomRight,
            WindowLeft = text.TakeSize("left", -1),
            WindowRight = text.TakeSize("right", -1),
            SinkCount = text.TakeSize("sinks", 0),
            ChunkSize = text.TakeSize("chunk", 0),
            LogitSoftCap = text.TakeNumber("softcap", 0),
            Operands = operands,
            BiasShape = ReadShape(text, "bias"),
            BiasType = text.TakeType("biastype", DataType.Float32),
            MaskShape = ReadShape(text, "mask"),
            MaskBlock = text.TakeSize("block", 0),
            RaggedSequences = text.TakeSize("ragged", 0),
            PageSize = text.TakeSize("page", 0),
            PoolPages = text.TakeSize("pool", 0),
            IsHeadPaged = text.TakeFlag("headpages"),
        };
    }

    /// <inheritdoc/>
    public string ToText()
    {
        AttentionProblem self = this;
        return ProblemText.Join([
            ProblemText.Word("b", BatchSize), ProblemText.Word("h", NumHeads), ProblemText.Word("kv", NumKvHeads, NumHeads),
            ProblemText.Word("q", QueryLength), ProblemText.Word("k", KvLength), ProblemText.Word("d", HeadDim),
            ProblemText.Word("dv", ValueHeadDim, HeadDim), ProblemText.Flag("causal", IsCausal),
            SoftmaxScale is { } scale ? ProblemText.Word("scale", scale) : "",
            Type.ToText(), ProblemText.Flag("kvtype=" + KvType.ToText(), KvType != Type),
            ProblemText.Flag("topleft", Alignment == CausalAlignment.TopLeft),
            ProblemText.Word("left", WindowLeft, -1), ProblemText.Word("right", WindowRight, -1), ProblemText.Word("sinks", SinkCount, 0),
            ProblemText.Word("chunk", ChunkSize, 0), ProblemText.Word("softcap", LogitSoftCap, 0f),
            ProblemText.Flag("bias=" + FormatShape(BiasShape), BiasShape != 0),
            ProblemText.Flag("biastype=" + BiasType.ToText(), BiasType != DataType.Float32),
            ProblemText.Flag("mask=" + FormatShape(MaskShape), MaskShape != 0), ProblemText.Word("block", MaskBlock, 0),
            ProblemText.Word("ragged", RaggedSequences, 0), ProblemText.Word("page", PageSize, 0), ProblemText.Word("pool", PoolPages, 0),
            ProblemText.Flag("headpages", IsHeadPaged),
            .. s_words.Select(w => ProblemText.Flag(w.Word, self.Has(w.Operand)))]);
    }

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private static readonly (string Word, AttentionOperands Operand)[] s_words =
    [
        ("alibi", AttentionOperands.AlibiSlopes), ("sink", AttentionOperands.SinkLogits), ("headwindows", AttentionOperands.HeadWindows),
        ("lengths", AttentionOperands.KvLengths), ("slotbias", AttentionOperands.SlotBias), ("gain", AttentionOperands.HeadGain),
        ("offset", AttentionOperands.HeadOffset),
    ];

    private static readonly (char Letter, BroadcastShape Part)[] s_letters =
    [
        ('b', BroadcastShape.Batch), ('h', BroadcastShape.Heads), ('q', BroadcastShape.Rows), ('k', BroadcastShape.Keys), ('1', BroadcastShape.Scalar),
    ];

    private string? FindRaggedError() =>
        BatchSize != 1 ? $"Ragged sequences lie end to end in a batch of 1, not of {BatchSize}."
        : BiasShape != 0 || MaskShape != 0 || MaskBlock > 0 || PageSize > 0 || KvType == DataType.Int8
            || Has(AttentionOperands.KvLengths | AttentionOperands.SlotBias)
            ? "Ragged sequences take no bias, mask, lengths or pages; give each sequence its own call, or pad the batch and give lengths."
        : null;

    private static string? FindOffsetError(string name, in RawView offsets, int total)
    {
        int count = (int)offsets.Layout[0], last = 0;
        for (int i = 0; i < count; i++)
        {
            int offset = offsets.ReadInt32(i);
            if (i == 0 ? offset != 0 : offset < last)
                return $"{name} must begin with 0 and never fall but {name}[{i}] is {offset}{(i > 0 ? $" after {last}" : "")}.";
            last = offset;
        }
        return last == total ? null : $"{name} must end with {total}, the rows there are, but ends with {last}.";
    }

    private Operand KeyOrValue(string name, int headDim, string dimensions, string pagedDimensions) => PageSize > 0
        ? new(name, OperandRole.Input, KvType, TensorLayout.Contiguous(PoolPages, PageSize, IsHeadPaged ? 1 : NumKvHeads, headDim),
            pagedDimensions, Values: StoredValues)
        : new(name, OperandRole.Input, KvType, TensorLayout.Contiguous(BatchSize, KvLength, NumKvHeads, headDim), dimensions, Values: StoredValues);

    private OperandValues StoredValues => KvType == DataType.Int8 ? OperandValues.Between(-127, 127) : default;

    private Operand Scales(string name) => KvType != DataType.Int8
        ? Operand.Absent(name)
        : new(name, OperandRole.Input, DataType.Float32,
            PageSize > 0
                ? TensorLayout.Contiguous(PoolPages, IsHeadPaged ? 1 : NumKvHeads, PageSize)
                : TensorLayout.Contiguous(BatchSize, NumKvHeads, KvLength),
            PageSize > 0 ? "poolPages, headsOfAPage, pageSize" : "batchSize, numKvHeads, kvLength", Values: OperandValues.Scales);

    private Operand Offsets(string name, int total) => RaggedSequences > 0
        ? new(name, OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(RaggedSequences + 1L), "sequences + 1", Values: OperandValues.Offsets(total))
        : Operand.Absent(name);

    private TensorLayout Broadcast(BroadcastShape shape) => TensorLayout.Contiguous(
        (shape & BroadcastShape.Batch) != 0 ? BatchSize : 1, (shape & BroadcastShape.Heads) != 0 ? NumHeads : 1,
        (shape & BroadcastShape.Rows) != 0 ? QueryLength : 1, (shape & BroadcastShape.Keys) != 0 ? KvLength : 1);

    private static long Blocks(long length, int size) => (length + size - 1) / size;

    private static BroadcastShape ReadShape(ProblemText text, string name)
    {
        BroadcastShape shape = 0;
        foreach (char letter in text.TakeWord(name, ""))
        {
            BroadcastShape part = s_letters.FirstOrDefault(l => l.Letter == letter).Part;
            if (part == 0 || (shape & part) != 0)
                throw new FormatException($"'{name}' takes each of the letters b, h, q and k at most once, or 1, not '{letter}'.");
            shape |= part;
        }
        return shape;
    }

    private static string FormatShape(BroadcastShape shape) =>
        string.Concat(s_letters.Where(l => (shape & l.Part) != 0).Select(l => l.Letter.ToString(CultureInfo.InvariantCulture)));
}
