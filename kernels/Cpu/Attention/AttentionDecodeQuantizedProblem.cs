using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Attention of a few query rows over pages of codes, x = code · scale + minimum (see <see cref="KvCacheQuantizeProblem"/>), all of which
/// every row sees; a page belongs to one key/value head:
/// <code>
/// s_j = softmaxScale · q · key_j        output = Σ_j exp(s_j) · value_j / Σ_j exp(s_j)        lse = ln Σ_j exp(s_j), a natural log
/// </code>
/// A row that sees no key has output 0 and lse −∞. With lse, attention over newer keys that are stored in full joins in
/// (<see cref="AttentionMergeProblem"/>). Text form: <c>h=8 kv=2 q=1 k=4096 page=32 pool=256 d=128 bits=4 bf16</c>.
/// </summary>
/// <param name="BatchSize">Sequences (<c>b</c>, default 1).</param>
/// <param name="NumHeads">Query heads (<c>h</c>, default 1).</param>
/// <param name="NumKvHeads">Key/value heads (<c>kv</c>, default h), a divisor of the query heads.</param>
/// <param name="QueryLength">Query rows of each sequence (<c>q</c>).</param>
/// <param name="KvLength">Keys that a row of the page table has room for (<c>k</c>).</param>
/// <param name="PageSize">Keys of a page (<c>page</c>).</param>
/// <param name="PoolPages">Pages in the pools of codes (<c>pool</c>).</param>
/// <param name="HeadDim">Elements of a query or key row (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value or output row (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="Bits">Bits of a code (<c>bits</c>): 2, 4 or 8.</param>
/// <param name="SoftmaxScale">Factor on the scores (<c>scale</c>); null for 1/√HeadDim.</param>
/// <param name="Type">Storage of query and output (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct AttentionDecodeQuantizedProblem(
    int BatchSize, int NumHeads, int NumKvHeads, int QueryLength, int KvLength, int PageSize, int PoolPages, int HeadDim, int ValueHeadDim,
    int Bits, float? SoftmaxScale = null, DataType Type = DataType.Float32) : IProblem<AttentionDecodeQuantizedProblem>
{
    /// <summary>Index of the query, [batchSize, queryLength, numHeads, headDim].</summary>
    public const int Query = 0;

    /// <summary>Index of the page table, i32 [batchSize, numKvHeads, ⌈kvLength / pageSize⌉].</summary>
    public const int PageTable = 1;

    /// <summary>Index of the keys of each head, i32 [batchSize, numKvHeads].</summary>
    public const int KvLengths = 2;

    /// <summary>Index of the codes of keys, i8 [codePages, pageSize, headDim · bits / 8].</summary>
    public const int KeyCodes = 3;

    /// <summary>Index of the scales of the channels of keys, f16 [codePages, headDim].</summary>
    public const int KeyScale = 4;

    /// <summary>Index of their minima, shaped as the scales.</summary>
    public const int KeyMinimum = 5;

    /// <summary>Index of the codes of values, i8 [codePages, pageSize, valueHeadDim · bits / 8].</summary>
    public const int ValueCodes = 6;

    /// <summary>Index of the scales of values, f16 [codePages, pageSize, ⌈valueHeadDim / 32⌉].</summary>
    public const int ValueScale = 7;

    /// <summary>Index of their minima, shaped as the scales.</summary>
    public const int ValueMinimum = 8;

    /// <summary>Index of the output, [batchSize, queryLength, numHeads, valueHeadDim].</summary>
    public const int Output = 9;

    /// <summary>Index of the log-sum-exp, f32 [batchSize, numHeads, queryLength], natural log.</summary>
    public const int Lse = 10;

    /// <inheritdoc/>
    public int OperandCount => 11;

    /// <summary>Query heads of a key/value head.</summary>
    public int GroupSize => NumKvHeads == 0 ? 0 : NumHeads / NumKvHeads;

    /// <summary>The factor on the scores.</summary>
    public float Scale => SoftmaxScale ?? 1f / MathF.Sqrt(HeadDim);

    /// <summary>The pages of codes.</summary>
    public CodePages Codes => new(PoolPages, PageSize, HeadDim, ValueHeadDim, Bits);

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Query => new("query", OperandRole.Input, Type, TensorLayout.Contiguous(BatchSize, QueryLength, NumHeads, HeadDim),
            "batchSize, queryLength, numHeads, headDim"),
        PageTable => new("pageTable", OperandRole.Input, DataType.Int32,
            TensorLayout.Contiguous(BatchSize, NumKvHeads, ((long)KvLength + PageSize - 1) / Math.Max(1, PageSize)),
            "batchSize, numKvHeads, pages",
            Values: OperandValues.DistinctBelow(PoolPages)),
        KvLengths => new("kvLengths", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(BatchSize, NumKvHeads),
            "batchSize, numKvHeads",
            Values: OperandValues.Between(0, KvLength)),
        >= KeyCodes and <= ValueMinimum => Codes.GetOperand(index - KeyCodes, OperandRole.Input),
        Output => new("output", OperandRole.Output, Type, TensorLayout.Contiguous(BatchSize, QueryLength, NumHeads, ValueHeadDim),
            "batchSize, queryLength, numHeads, valueHeadDim"),
        Lse => new("lse", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(BatchSize, NumHeads, QueryLength),
            "batchSize, numHeads, queryLength"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * BatchSize * NumHeads * QueryLength * KvLength * ((double)HeadDim + ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes => (double)BatchSize * NumKvHeads * KvLength / Math.Max(1, PageSize) * Codes.BytesOfPage
        + (double)BatchSize * QueryLength * NumHeads * (((double)HeadDim + ValueHeadDim) * Type.SizeInBytes() + sizeof(float));

    /// <inheritdoc/>
    public string? FindError() =>
        BatchSize < 0 || NumHeads < 0 || NumKvHeads < 0 || QueryLength < 0 || KvLength < 0 ? "Sizes must not be negative."
        : NumKvHeads == 0 ? NumHeads == 0 ? Codes.FindError() : "Query heads need key/value heads."
        : NumHeads % NumKvHeads != 0 ? $"numHeads={NumHeads} must be a multiple of numKvHeads={NumKvHeads}."
        : !Type.IsFloat() ? $"Attention takes f32, f16 or bf16 tensors, not {Type.ToText()}."
        : !float.IsFinite(Scale) ? "softmaxScale must be finite."
        : PoolPages == 0 && KvLength > 0 ? "Paged keys need a pool of at least one page."
        : Codes.FindError();

    /// <inheritdoc/>
    public static string? FindContentError(in AttentionDecodeQuantizedProblem problem, ReadOnlySpan<RawView> operands) =>
        AttentionProblem.FindLengthError(
            operands[KvLengths], operands[PageTable], problem.BatchSize, problem.NumKvHeads, problem.KvLength, problem.PageSize,
            problem.PoolPages);

    /// <inheritdoc/>
    public static AttentionDecodeQuantizedProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int numHeads = text.TakeSize("h", 1), headDim = text.TakeSize("d");
        float scale = text.TakeNumber("scale", float.NaN);
        return new AttentionDecodeQuantizedProblem(
            text.TakeSize("b", 1), numHeads, text.TakeSize("kv", numHeads), text.TakeSize("q"), text.TakeSize("k"), text.TakeSize("page"),
            text.TakeSize("pool"), headDim, text.TakeSize("dv", headDim), text.TakeSize("bits"), float.IsNaN(scale) ? null : scale,
            text.TakeType(DataType.Float32));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("b", BatchSize, 1), ProblemText.Word("h", NumHeads, 1), ProblemText.Word("kv", NumKvHeads, NumHeads),
        ProblemText.Word("q", QueryLength), ProblemText.Word("k", KvLength), ProblemText.Word("page", PageSize),
        ProblemText.Word("pool", PoolPages),
        ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim), ProblemText.Word("bits", Bits),
        SoftmaxScale is { } scale ? ProblemText.Word("scale", scale) : "", Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
