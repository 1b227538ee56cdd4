namespace KernelEngine;

/// <summary>
/// Appends the keys and values of new tokens to a cache, the keys turned to their positions on the way (rotary embedding, Su et
/// al. 2021, arXiv:2104.09864), and turns the queries of the same tokens in place:
/// <code>
/// p = positions[b] + t                         slot = kvLengths[b, h] + t, or p without lengths
/// keyCache[b, slot, h] = rotate(newKey[b, t, h], p)      valueCache[b, slot, h] = newValue[b, t, h]
/// query[b, t, h] = rotate(query[b, t, h], p)
/// </code>
/// The rest of the cache keeps what it holds. An i8 cache stores rows in units of their scale = max|x| / 127. Pages that are
/// written must belong to one sequence and head alone. Text form: <c>b=2 h=8 kv=2 n=1 k=128 d=64 kvtype=bf16</c>.
/// </summary>
/// <param name="BatchSize">Sequences (<c>b</c>, default 1).</param>
/// <param name="NumHeads">Query heads to turn (<c>h</c>, default 0: no query).</param>
/// <param name="NumKvHeads">Key/value heads (<c>kv</c>, default 1).</param>
/// <param name="NewLength">New tokens of each sequence (<c>n</c>, default 1).</param>
/// <param name="Capacity">Keys that fit a sequence's cache (<c>k</c>).</param>
/// <param name="HeadDim">Elements of a query or key row (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value row (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="RotaryDim">Elements of a query or key row that turn, the first ones (<c>rd</c>, default 0); even.</param>
/// <param name="MaxPosition">Positions of the tables (<c>maxpos</c>, default k).</param>
/// <param name="IsInterleaved">Pairs are neighbours (2i, 2i + 1) when set (<c>interleaved</c>), else (i, i + rotaryDim / 2).</param>
/// <param name="Type">Storage of the new rows and the query (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
/// <param name="KvType">Storage of the cache (<c>kvtype=bf16</c>, default <see cref="Type"/>); i8 with a scale a row and head.</param>
public readonly record struct AttentionAppendProblem(
    int BatchSize, int NumHeads, int NumKvHeads, int NewLength, int Capacity, int HeadDim, int ValueHeadDim, int RotaryDim, int MaxPosition,
    bool IsInterleaved = false, DataType Type = DataType.Float32, DataType KvType = DataType.Float32) : IProblem<AttentionAppendProblem>
{
    /// <summary>Index of the new keys, [batchSize, newLength, numKvHeads, headDim].</summary>
    public const int NewKey = 0;

    /// <summary>Index of the new values, [batchSize, newLength, numKvHeads, valueHeadDim].</summary>
    public const int NewValue = 1;

    /// <summary>Index of the key cache, [batchSize, capacity, numKvHeads, headDim], or pages of it.</summary>
    public const int KeyCache = 2;

    /// <summary>Index of the value cache, [batchSize, capacity, numKvHeads, valueHeadDim], or pages of it.</summary>
    public const int ValueCache = 3;

    /// <summary>Index of the positions of the first new tokens, i32 [batchSize].</summary>
    public const int Positions = 4;

    /// <summary>Index of the query, [batchSize, newLength, numHeads, headDim], turned in place.</summary>
    public const int Query = 5;

    /// <summary>Index of the table of cosines, f32 [maxPosition, rotaryDim / 2].</summary>
    public const int Cos = 6;

    /// <summary>Index of the table of sines, f32 [maxPosition, rotaryDim / 2].</summary>
    public const int Sin = 7;

    /// <summary>Index of the keys already in each head's cache, i32 [batchSize, numKvHeads].</summary>
    public const int KvLengths = 8;

    /// <summary>Index of the page table, i32 [batchSize, numKvHeads, ⌈capacity / pageSize⌉].</summary>
    public const int PageTable = 9;

    /// <summary>Index of the scales of i8 keys, f32 [batchSize, numKvHeads, capacity], or in pages [poolPages, headsOfAPage, pageSize].</summary>
    public const int KeyScale = 10;

    /// <summary>Index of the scales of i8 values, shaped as those of the keys.</summary>
    public const int ValueScale = 11;

    /// <summary>Whether heads hold different numbers of keys, so that slots differ from positions (<c>lengths</c>).</summary>
    public bool HasLengths { get; init; }

    /// <summary>Keys of a page (<c>page</c>); 0 when keys and values lie side by side.</summary>
    public int PageSize { get; init; }

    /// <summary>Pages in the pool that the page table points into (<c>pool</c>).</summary>
    public int PoolPages { get; init; }

    /// <summary>A page holds keys of one head, not of all (<c>headpages</c>).</summary>
    public bool IsHeadPaged { get; init; }

    /// <inheritdoc/>
    public int OperandCount => 12;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        NewKey => new("newKey", OperandRole.Input, Type, TensorLayout.Contiguous(BatchSize, NewLength, NumKvHeads, HeadDim),
            "batchSize, newLength, numKvHeads, headDim"),
        NewValue => new("newValue", OperandRole.Input, Type, TensorLayout.Contiguous(BatchSize, NewLength, NumKvHeads, ValueHeadDim),
            "batchSize, newLength, numKvHeads, valueHeadDim"),
        KeyCache => Cache("keyCache", HeadDim, "batchSize, capacity, numKvHeads, headDim", "poolPages, pageSize, headsOfAPage, headDim"),
        ValueCache => Cache(
            "valueCache", ValueHeadDim, "batchSize, capacity, numKvHeads, valueHeadDim", "poolPages, pageSize, headsOfAPage, valueHeadDim"),
        Positions => new("positions", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(BatchSize), "batchSize",
            Values: OperandValues.Between(0, MostPosition)),
        Query => NumHeads > 0
            ? new("query", OperandRole.InOut, Type, TensorLayout.Contiguous(BatchSize, NewLength, NumHeads, HeadDim),
                "batchSize, newLength, numHeads, headDim")
            : Operand.Absent("query"),
        Cos => Table("cos"),
        Sin => Table("sin"),
        KvLengths => HasLengths
            ? new("kvLengths", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(BatchSize, NumKvHeads), "batchSize, numKvHeads",
                Values: OperandValues.Between(0, Capacity - NewLength))
            : Operand.Absent("kvLengths"),
        PageTable => PageSize > 0
            ? new("pageTable", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(BatchSize, NumKvHeads, ((long)Capacity + PageSize - 1) / PageSize),
                "batchSize, numKvHeads, pages", Values: OperandValues.DistinctBelow(PoolPages))
            : Operand.Absent("pageTable"),
        KeyScale => Scales("keyScale"),
        ValueScale => Scales("valueScale"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 3.0 * BatchSize * NewLength * ((double)NumHeads + NumKvHeads) * RotaryDim;

    /// <inheritdoc/>
    public double Bytes => (double)BatchSize * NewLength
        * (((double)HeadDim + ValueHeadDim) * NumKvHeads * (Type.SizeInBytes() + KvType.SizeInBytes()) + 2.0 * NumHeads * RotaryDim * Type.SizeInBytes()
            + 4.0 * RotaryDim);

    /// <inheritdoc/>
    public string? FindError() =>
        BatchSize < 0 || NumHeads < 0 || NumKvHeads < 0 || NewLength < 0 || Capacity < 0 || MaxPosition < 0 || PageSize < 0 || PoolPages < 0
            ? "Sizes must not be negative."
        : AttentionProblem.FindHeadDimError(HeadDim, ValueHeadDim) is { } error ? error
        : RotaryDim < 0 || RotaryDim > HeadDim || RotaryDim % 2 != 0 ? $"rotaryDim must be even and 0 to headDim={HeadDim} but is {RotaryDim}."
        : NewLength > Capacity ? $"newLength must be at most capacity={Capacity} but is {NewLength}."
        : RotaryDim > 0 && NewLength > MaxPosition ? $"newLength must be at most maxPosition={MaxPosition} but is {NewLength}."
        : !Type.IsFloat() ? $"Attention takes f32, f16 or bf16 tensors, not {Type.ToText()}."
        : !KvType.IsFloat() && KvType != DataType.Int8 ? $"A cache holds f32, f16, bf16 or i8 keys and values, not {KvType.ToText()}."
        : PageSize > 0 && PoolPages == 0 && Capacity > 0 ? "Paged keys need a pool of at least one page."
        : PageSize == 0 && (PoolPages > 0 || IsHeadPaged) ? "A pool of pages needs a page size."
        : null;

    /// <inheritdoc/>
    public static string? FindContentError(in AttentionAppendProblem problem, ReadOnlySpan<RawView> operands) => problem.FindContentError(operands);

    private string? FindContentError(ReadOnlySpan<RawView> operands)
    {
        RawView positions = operands[Positions], lengths = operands[KvLengths], table = operands[PageTable];
        for (int b = 0; b < BatchSize; b++)
        {
            int position = positions.ReadInt32(b);
            if (position < 0 || position > MostPosition)
            {
                return $"positions[{b}] must be 0 to {MostPosition}, so that {NewLength} new tokens fit "
                    + $"{(MostPosition == Capacity - NewLength ? $"capacity={Capacity}" : $"maxPosition={MaxPosition}")}, but is {position}.";
            }
            for (int h = 0; (HasLengths || PageSize > 0) && h < NumKvHeads; h++)
            {
                int slot = HasLengths ? lengths.ReadInt32(b, h) : position;
                if (slot < 0 || slot > Capacity - NewLength)
                    return $"kvLengths[{b}, {h}] must be 0 to {Capacity - NewLength}, so that {NewLength} new tokens fit capacity={Capacity}, but is {slot}.";
                for (int page = PageSize == 0 ? 0 : slot / PageSize; PageSize > 0 && page * (long)PageSize < slot + NewLength; page++)
                {
                    if (table.ReadInt32(b, h, page) is var number && (uint)number >= (uint)PoolPages)
                        return $"pageTable[{b}, {h}, {page}] must be 0 to {PoolPages - 1} but is {number}.";
                }
            }
        }
        return null;
    }

    /// <inheritdoc/>
    public static AttentionAppendProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int headDim = text.TakeSize("d"), capacity = text.TakeSize("k");
        DataType type = text.TakeType(DataType.Float32);
        return new AttentionAppendProblem(
            text.TakeSize("b", 1), text.TakeSize("h", 0), text.TakeSize("kv", 1), text.TakeSize("n", 1), capacity, headDim,
            text.TakeSize("dv", headDim), text.TakeSize("rd", 0), text.TakeSize("maxpos", capacity), text.TakeFlag("interleaved"), type,
            text.TakeKvType("kvtype", type))
        {
            HasLengths = text.TakeFlag("lengths"),
            PageSize = text.TakeSize("page", 0),
            PoolPages = text.TakeSize("pool", 0),
            IsHeadPaged = text.TakeFlag("headpages"),
        };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("b", BatchSize), ProblemText.Word("h", NumHeads, 0), ProblemText.Word("kv", NumKvHeads), ProblemText.Word("n", NewLength),
        ProblemText.Word("k", Capacity), ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim),
        ProblemText.Word("rd", RotaryDim, 0), ProblemText.Word("maxpos", MaxPosition, Capacity), ProblemText.Flag("interleaved", IsInterleaved),
        Type.ToText(), ProblemText.Flag("kvtype=" + KvType.ToText(), KvType != Type), ProblemText.Flag("lengths", HasLengths),
        ProblemText.Word("page", PageSize, 0), ProblemText.Word("pool", PoolPages, 0), ProblemText.Flag("headpages", IsHeadPaged));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    // The last position at which the new tokens may begin.
    private int MostPosition => (HasLengths ? RotaryDim > 0 ? MaxPosition : int.MaxValue : RotaryDim > 0 ? Math.Min(Capacity, MaxPosition) : Capacity) - NewLength;

    private Operand Cache(string name, int headDim, string dimensions, string pagedDimensions)
    {
        OperandValues values = KvType == DataType.Int8 ? OperandValues.Between(-127, 127) : default;
        return PageSize > 0
            ? new(name, OperandRole.InOut, KvType, TensorLayout.Contiguous(PoolPages, PageSize, IsHeadPaged ? 1 : NumKvHeads, headDim),
                pagedDimensions, Values: values)
            : new(name, OperandRole.InOut, KvType, TensorLayout.Contiguous(BatchSize, Capacity, NumKvHeads, headDim), dimensions, Values: values);
    }

    private Operand Scales(string name) => KvType != DataType.Int8
        ? Operand.Absent(name)
        : PageSize > 0
            ? new(name, OperandRole.InOut, DataType.Float32, TensorLayout.Contiguous(PoolPages, IsHeadPaged ? 1 : NumKvHeads, PageSize),
                "poolPages, headsOfAPage, pageSize")
            : new(name, OperandRole.InOut, DataType.Float32, TensorLayout.Contiguous(BatchSize, NumKvHeads, Capacity),
                "batchSize, numKvHeads, capacity");

    private Operand Table(string name) => RotaryDim > 0
        ? new(name, OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(MaxPosition, RotaryDim / 2), "maxPosition, rotaryDim / 2")
        : Operand.Absent(name);
}
