using KernelEngine.Kernels.Cpu.Primitives;
using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

/// <summary>
/// Attention in which each row sees the keys of its list and no others (sparse transformers: Child et al. 2019, arXiv:1904.10509; lists
/// from product quantisation: SPT, Gui et al. 2023, arXiv:2312.10365):
/// <code>
/// a_ij = cap(scale · q_i·k_j)   for the keys j that row i lists        lse_i = ln Σ_j exp(a_ij)        output_i = Σ_j exp(a_ij − lse_i) v_j
/// </code>
/// A row without keys has output 0 and lse −∞. Whether attention is causal is a matter of the lists. Heads may share lists: head h reads
/// those of head h div (numHeads / indexHeads).
/// Text form: <c>b=1 h=8 kv=8 index=8 q=4096 k=4096 d=64 keep=512 columns=u16 f32</c>.
/// </summary>
/// <param name="BatchSize">Sequences (<c>b</c>, default 1).</param>
/// <param name="NumHeads">Query heads (<c>h</c>, default 1).</param>
/// <param name="NumKvHeads">Key/value heads (<c>kv</c>, default h), a divisor of the query heads.</param>
/// <param name="IndexHeads">Heads that have lists of their own (<c>index</c>, default h), a divisor of the query heads.</param>
/// <param name="QueryLength">Query rows (<c>q</c>).</param>
/// <param name="KvLength">Keys (<c>k</c>).</param>
/// <param name="HeadDim">Elements of a query or key (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="Capacity">Keys that a list has room for (<c>keep</c>).</param>
/// <param name="SoftmaxScale">Factor on query · key (<c>scale</c>); null for 1/√headDim.</param>
/// <param name="Type">Storage of all but lists and lse (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct SparseAttentionProblem(
    int BatchSize, int NumHeads, int NumKvHeads, int IndexHeads, int QueryLength, int KvLength, int HeadDim, int ValueHeadDim, int Capacity,
    float? SoftmaxScale = null, DataType Type = DataType.Float32) : IProblem<SparseAttentionProblem>
{
    /// <summary>Index of the query, [batchSize, queryLength, numHeads, headDim].</summary>
    public const int Query = 0;

    /// <summary>Index of the key, [batchSize, kvLength, numKvHeads, headDim].</summary>
    public const int Key = 1;

    /// <summary>Index of the value, [batchSize, kvLength, numKvHeads, valueHeadDim].</summary>
    public const int Value = 2;

    /// <summary>Index of the lists, i32 or u16 [batchSize, indexHeads, queryLength, capacity], ascending.</summary>
    public const int Columns = 3;

    /// <summary>Index of the lists' lengths, i32 [batchSize, indexHeads, queryLength].</summary>
    public const int Counts = 4;

    /// <summary>Index of the output, [batchSize, queryLength, numHeads, valueHeadDim].</summary>
    public const int Output = 5;

    /// <summary>Index of the log-sum-exp, natural log, f32 [batchSize, numHeads, queryLength], written if present.</summary>
    public const int Lse = 6;

    /// <summary>How many operands there are.</summary>
    public const int Count = 7;

    /// <summary>Scores x become softCap · tanh(x / softCap) (<c>softcap</c>); 0 for no cap.</summary>
    public float LogitSoftCap { get; init; }

    /// <summary>Storage of the lists (<c>columns</c>): i32, or u16 where there are no more keys than that can tell apart.</summary>
    public DataType ColumnType { get; init; } = DataType.Int32;

    /// <summary>Query heads that share one key/value head.</summary>
    public int GroupSize => NumHeads / NumKvHeads;

    /// <summary>Query heads that share their lists.</summary>
    public int HeadsPerIndex => NumHeads / IndexHeads;

    /// <summary>The factor on the scores.</summary>
    public float Scale => SoftmaxScale ?? 1f / MathF.Sqrt(HeadDim);

    /// <summary>Keys that a list has at the most.</summary>
    public int MaxCount => Math.Min(Capacity, KvLength);

    /// <inheritdoc/>
    public int OperandCount => Count;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Query => new("query", OperandRole.Input, Type, TensorLayout.Contiguous(BatchSize, QueryLength, NumHeads, HeadDim),
            "batchSize, queryLength, numHeads, headDim"),
        Key => new("key", OperandRole.Input, Type, TensorLayout.Contiguous(BatchSize, KvLength, NumKvHeads, HeadDim),
            "batchSize, kvLength, numKvHeads, headDim"),
        Value => new("value", OperandRole.Input, Type, TensorLayout.Contiguous(BatchSize, KvLength, NumKvHeads, ValueHeadDim),
            "batchSize, kvLength, numKvHeads, valueHeadDim"),
        Columns => ColumnLists.Columns(OperandRole.Input, ColumnType, BatchSize, IndexHeads, QueryLength, Capacity, KvLength),
        Counts => ColumnLists.Counts(OperandRole.Input, BatchSize, IndexHeads, QueryLength, MaxCount),
        Output => new("output", OperandRole.Output, Type, TensorLayout.Contiguous(BatchSize, QueryLength, NumHeads, ValueHeadDim),
            "batchSize, queryLength, numHeads, valueHeadDim"),
        Lse => new("lse", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(BatchSize, NumHeads, QueryLength),
            "batchSize, numHeads, queryLength", IsOptional: true),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <summary>Pairs of a query row and a key, over all heads, when every list is full; an upper bound else.</summary>
    public double MaxPairs => (double)BatchSize * NumHeads * QueryLength * MaxCount;

    /// <inheritdoc/>
    public double Flops => 2.0 * MaxPairs * ((double)HeadDim + ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes =>
        (double)BatchSize * ((double)HeadDim + ValueHeadDim) * ((double)NumHeads * QueryLength + (double)NumKvHeads * KvLength)
            * Type.SizeInBytes()
        + (double)BatchSize * IndexHeads * QueryLength * (ColumnType.SizeInBytes() * (double)MaxCount + sizeof(int));

    /// <inheritdoc/>
    public string? FindError() =>
        BatchSize < 0 || QueryLength < 0 || KvLength < 0 || NumHeads < 0 || Capacity < 0 ? "Sizes must not be negative."
        : NumKvHeads < 1 || NumHeads % NumKvHeads != 0
            ? $"numHeads must be a multiple of numKvHeads but {NumHeads} is no multiple of {NumKvHeads}."
        : IndexHeads < 1 || NumHeads % IndexHeads != 0
            ? $"numHeads must be a multiple of indexHeads but {NumHeads} is no multiple of {IndexHeads}."
        : AttentionProblem.FindHeadDimError(HeadDim, ValueHeadDim) is { } error ? error
        : !float.IsFinite(Scale) ? "softmaxScale must be finite."
        : !(LogitSoftCap >= 0) || !float.IsFinite(LogitSoftCap) ? $"logitSoftCap must be 0 or positive but is {LogitSoftCap}."
        : ColumnLists.FindTypeError(ColumnType, KvLength) is { } typeError ? typeError
        : !Type.IsFloat() ? $"Attention takes f32, f16 or bf16 tensors, not {Type.ToText()}."
        : null;

    /// <inheritdoc/>
    public static string? FindContentError(in SparseAttentionProblem problem, ReadOnlySpan<RawView> operands) =>
        ColumnLists.FindError(operands[Columns], operands[Counts], problem.KvLength);

    /// <inheritdoc/>
    public static string? FindContentError(in SparseAttentionProblem problem, ReadOnlySpan<RawView> operands, WorkerPool workers) =>
        ColumnLists.FindError(operands[Columns], operands[Counts], problem.KvLength, workers);

    /// <inheritdoc/>
    public static SparseAttentionProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int heads = text.TakeSize("h", 1), headDim = text.TakeSize("d");
        float scale = text.TakeNumber("scale", float.NaN);
        return new SparseAttentionProblem(
            text.TakeSize("b", 1), heads, text.TakeSize("kv", heads), text.TakeSize("index", heads), text.TakeSize("q"), text.TakeSize("k"),
            headDim, text.TakeSize("dv", headDim), text.TakeSize("keep"), float.IsNaN(scale) ? null : scale,
            text.TakeType(DataType.Float32))
        {
            LogitSoftCap = text.TakeNumber("softcap", 0),
            ColumnType = text.TakeColumnType("columns"),
        };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("b", BatchSize), ProblemText.Word("h", NumHeads), ProblemText.Word("kv", NumKvHeads, NumHeads),
        ProblemText.Word("index", IndexHeads, NumHeads), ProblemText.Word("q", QueryLength), ProblemText.Word("k", KvLength),
        ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim), ProblemText.Word("keep", Capacity),
        SoftmaxScale is { } scale ? ProblemText.Word("scale", scale) : "", ProblemText.Word("softcap", LogitSoftCap, 0f),
        ProblemText.ColumnTypeWord("columns", ColumnType), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
