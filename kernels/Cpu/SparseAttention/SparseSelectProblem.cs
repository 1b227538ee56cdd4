using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

/// <summary>
/// Chooses for each query row the keys that sparse attention looks at (SPT, Gui et al. 2023, arXiv:2312.10365), exactly:
/// <code>
/// length = kvLengths[b], or kvLength        seen(i) = keys 0 .. length − 1, with causal j ≤ i + length − queryLength alone
/// s_ij = number of sub-vectors m with queryCode_im = keyCode_jm, for a list of a group the sum over its query heads
/// counts_i = min(capacity, |seen(i)|): the first <c>sinks</c> and the last <c>recent</c> keys seen, then those with the largest s_ij
/// </code>
/// Of equals the later key is kept, or with <c>earliest</c> the earlier one. Columns rise, and have all bits set past the count: −1, or
/// 65535 of 16 bits. All numbers are integers: every kernel gives the same answer.
/// Text form: <c>b=1 h=8 q=8192 k=8192 m=8 l=1024 causal recent=1 columns=u16</c>.
/// </summary>
/// <param name="BatchSize">Sequences (<c>b</c>, default 1).</param>
/// <param name="NumHeads">Query heads (<c>h</c>, default 1).</param>
/// <param name="NumKvHeads">Key/value heads (<c>kv</c>, default h), a divisor of the query heads.</param>
/// <param name="QueryLength">Rows of a sequence (<c>q</c>).</param>
/// <param name="KvLength">Keys of a sequence (<c>k</c>).</param>
/// <param name="SubVectors">Codes of a row (<c>m</c>), 1 to 32.</param>
/// <param name="Capacity">The most keys of a list (<c>l</c>).</param>
/// <param name="IsCausal">A row sees no key after its own position; the last row stands at the last key (<c>causal</c>).</param>
/// <param name="KeepsEarliest">Of equals the earlier key is kept (<c>earliest</c>).</param>
/// <param name="Sinks">First keys that are always kept (<c>sinks</c>, default 0).</param>
/// <param name="Recent">Last keys seen that are always kept (<c>recent</c>, default 0); in a causal problem 1 is the row itself.</param>
/// <param name="HasKvLengths">Whether sequences have lengths of their own (<c>lengths</c>).</param>
/// <param name="IsGrouped">One list for the query heads that share a key/value head (<c>grouped</c>).</param>
public readonly record struct SparseSelectProblem(
    int BatchSize, int NumHeads, int NumKvHeads, int QueryLength, int KvLength, int SubVectors, int Capacity, bool IsCausal = false,
    bool KeepsEarliest = false, int Sinks = 0, int Recent = 0, bool HasKvLengths = false, bool IsGrouped = false)
    : IProblem<SparseSelectProblem>
{
    /// <summary>Index of the queries' codes, i32 [batchSize, numHeads, queryLength, words].</summary>
    public const int QueryCodes = 0;

    /// <summary>Index of the keys' codes, i32 [batchSize, numKvHeads, kvLength, words].</summary>
    public const int KeyCodes = 1;

    /// <summary>Index of the lengths, i32 [batchSize].</summary>
    public const int KvLengths = 2;

    /// <summary>Index of the lists, i32 or u16 [batchSize, indexHeads, queryLength, capacity].</summary>
    public const int Columns = 3;

    /// <summary>Index of their lengths, i32 [batchSize, indexHeads, queryLength].</summary>
    public const int Counts = 4;

    /// <summary>The largest sum of match counts that a list may rank by.</summary>
    public const int MaxMatches = 511;

    /// <summary>Storage of the lists (<c>columns</c>): i32, or u16 where there are no more keys than that can tell apart.</summary>
    public DataType ColumnType { get; init; } = DataType.Int32;

    /// <summary>The smallest type for lists of so many keys: u16 up to 65536, else i32.</summary>
    public static DataType NarrowestColumns(long keys) => keys <= ColumnLists.MaxNarrowKeys ? DataType.UInt16 : DataType.Int32;

    /// <summary>Query heads of a key/value head.</summary>
    public int GroupSize => NumKvHeads == 0 ? 0 : NumHeads / NumKvHeads;

    /// <summary>Heads that have lists.</summary>
    public int IndexHeads => IsGrouped ? NumKvHeads : NumHeads;

    /// <summary>Query heads that share a list.</summary>
    public int HeadsOfList => IsGrouped ? GroupSize : 1;

    /// <summary>The largest match count of a list.</summary>
    public int MostMatches => HeadsOfList * SubVectors;

    /// <inheritdoc/>
    public int OperandCount => 5;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        QueryCodes => SparseCodes.Operand("queryCodes", OperandRole.Input, BatchSize, NumHeads, QueryLength, SubVectors, "batchSize, numHeads, queryLength, words"),
        KeyCodes => SparseCodes.Operand("keyCodes", OperandRole.Input, BatchSize, NumKvHeads, KvLength, SubVectors, "batchSize, numKvHeads, kvLength, words"),
        KvLengths => HasKvLengths
            ? new("kvLengths", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(BatchSize), "batchSize", Values: OperandValues.Between(0, KvLength))
            : Operand.Absent("kvLengths"),
        Columns => ColumnLists.Columns(OperandRole.Output, ColumnType, BatchSize, IndexHeads, QueryLength, Capacity, KvLength),
        Counts => ColumnLists.Counts(OperandRole.Output, BatchSize, IndexHeads, QueryLength, Capacity),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <summary>Keys 0 .. n − 1 that a row of a sequence of so many keys sees: their number.</summary>
    public int CountSeen(int row, int length) => IsCausal ? (int)Math.Clamp(row + 1L + length - QueryLength, 0, length) : length;

    /// <summary>Comparisons of two codes.</summary>
    public double Flops => (double)BatchSize * NumHeads * SubVectors * QueryLength * KvLength * (IsCausal && QueryLength == KvLength ? 0.5 : 1);

    /// <inheritdoc/>
    public double Bytes =>
        (double)sizeof(int) * BatchSize * SparseCodes.WordsOf(SubVectors) * ((double)NumHeads * QueryLength + (double)NumKvHeads * KvLength)
        + (double)BatchSize * IndexHeads * QueryLength * (ColumnType.SizeInBytes() * (double)Capacity + sizeof(int));

    /// <inheritdoc/>
    public string? FindError() =>
        BatchSize < 0 || NumHeads < 0 || NumKvHeads < 0 || QueryLength < 0 || KvLength < 0 || Capacity < 0 || Sinks < 0 || Recent < 0
            ? "Sizes must not be negative."
        : NumKvHeads == 0 ? (NumHeads > 0 ? "Query heads need a key/value head." : null)
        : NumHeads < NumKvHeads || NumHeads % NumKvHeads != 0 ? $"numHeads={NumHeads} must be a multiple of numKvHeads={NumKvHeads}, and as many at least."
        : SubVectors is < 1 or > SparseCodes.MaxSubVectors ? $"subVectors must be 1 to {SparseCodes.MaxSubVectors} but is {SubVectors}."
        : (long)HeadsOfList * SubVectors > MaxMatches
            ? $"A list ranks sums of up to {MaxMatches} matches, but {HeadsOfList} heads of {SubVectors} sub-vectors share one."
        : ColumnLists.FindTypeError(ColumnType, KvLength) is { } typeError ? typeError
        : (long)Sinks + Recent > Capacity ? $"sinks={Sinks} and recent={Recent} must fit the capacity of {Capacity}."
        : null;

    /// <inheritdoc/>
    public static string? FindContentError(in SparseSelectProblem problem, ReadOnlySpan<RawView> operands)
    {
        for (int b = 0; problem.HasKvLengths && b < problem.BatchSize; b++)
        {
            if (operands[KvLengths].ReadInt32(b) is var length && (length < 0 || length > problem.KvLength))
                return $"kvLengths[{b}] must be 0 to kvLength={problem.KvLength} but is {length}.";
        }
        return null;
    }

    /// <inheritdoc/>
    public static SparseSelectProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int heads = text.TakeSize("h", 1), rows = text.TakeSize("q");
        return new SparseSelectProblem(
            text.TakeSize("b", 1), heads, text.TakeSize("kv", heads), rows, text.TakeSize("k", rows), text.TakeSize("m"), text.TakeSize("l"),
            text.TakeFlag("causal"), text.TakeFlag("earliest"), text.TakeSize("sinks", 0), text.TakeSize("recent", 0), text.TakeFlag("lengths"),
            text.TakeFlag("grouped"))
        {
            ColumnType = text.TakeColumnType("columns"),
        };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("b", BatchSize), ProblemText.Word("h", NumHeads), ProblemText.Word("kv", NumKvHeads, NumHeads), ProblemText.Word("q", QueryLength),
        ProblemText.Word("k", KvLength), ProblemText.Word("m", SubVectors), ProblemText.Word("l", Capacity), ProblemText.Flag("causal", IsCausal),
        ProblemText.Flag("earliest", KeepsEarliest), ProblemText.Word("sinks", Sinks, 0), ProblemText.Word("recent", Recent, 0),
        ProblemText.Flag("lengths", HasKvLengths), ProblemText.Flag("grouped", IsGrouped),
        ProblemText.ColumnTypeWord("columns", ColumnType));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
