namespace KernelEngine;

/// <summary>
/// Scaled dot-product attention: <c>output = softmax(scale · query · keyᵀ + mask) · value</c> per head, query head h using
/// key/value head h div (numHeads / numKvHeads). Text form: <c>b=1 h=32 kv=8 q=1 k=4096 d=128 causal bf16</c>.
/// Forward and decode share it.
/// </summary>
/// <param name="BatchSize">Sequences (<c>b</c>).</param>
/// <param name="NumHeads">Query heads (<c>h</c>).</param>
/// <param name="NumKvHeads">Key/value heads (<c>kv</c>, default h); divides the query heads.</param>
/// <param name="QueryLength">Query rows of each sequence (<c>q</c>).</param>
/// <param name="KvLength">Keys of each sequence (<c>k</c>).</param>
/// <param name="HeadDim">Elements of a query or key row (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value or output row (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="IsCausal">Row i sees keys 0 .. i + KvLength − QueryLength: aligned bottom-right (<c>causal</c>).</param>
/// <param name="SoftmaxScale">Factor on the scores (<c>scale</c>); null for 1/√HeadDim.</param>
/// <param name="Type">Storage of query and output (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
/// <param name="KvType">Storage of key and value (<c>kvtype=bf16</c>, default <see cref="Type"/>).</param>
public readonly record struct AttentionProblem(
    int BatchSize, int NumHeads, int NumKvHeads, int QueryLength, int KvLength, int HeadDim, int ValueHeadDim,
    bool IsCausal = false, float? SoftmaxScale = null, DataType Type = DataType.Float32, DataType KvType = DataType.Float32)
    : IProblem<AttentionProblem>
{
    /// <summary>The longest head dimension.</summary>
    public const int MaxHeadDim = 256;

    /// <summary>Index of the query operand, [batchSize, queryLength, numHeads, headDim].</summary>
    public const int Query = 0;

    /// <summary>Index of the key operand, [batchSize, kvLength, numKvHeads, headDim].</summary>
    public const int Key = 1;

    /// <summary>Index of the value operand, [batchSize, kvLength, numKvHeads, valueHeadDim].</summary>
    public const int Value = 2;

    /// <summary>Index of the output operand, [batchSize, queryLength, numHeads, valueHeadDim].</summary>
    public const int Output = 3;

    /// <summary>
    /// Index of the optional log-sum-exp operand, f32 [batchSize, numHeads, queryLength]: natural log of Σ exp(score),
    /// −∞ for a row that sees no key.
    /// </summary>
    public const int Lse = 4;

    /// <summary>Query heads that share one key/value head.</summary>
    public int GroupSize => NumHeads / NumKvHeads;

    /// <summary>The factor on the scores.</summary>
    public float Scale => SoftmaxScale ?? 1f / MathF.Sqrt(HeadDim);

    /// <summary>Keys that query row <paramref name="row"/> sees: 0 .. result − 1.</summary>
    public int VisibleKeys(int row) => IsCausal ? (int)Math.Clamp((long)row + 1 + KvLength - QueryLength, 0, KvLength) : KvLength;

    /// <inheritdoc/>
    public int OperandCount => 5;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Query => new("query", OperandRole.Input, Type, TensorLayout.Contiguous(BatchSize, QueryLength, NumHeads, HeadDim),
            "batchSize, queryLength, numHeads, headDim"),
        Key => new("key", OperandRole.Input, KvType, TensorLayout.Contiguous(BatchSize, KvLength, NumKvHeads, HeadDim),
            "batchSize, kvLength, numKvHeads, headDim"),
        Value => new("value", OperandRole.Input, KvType, TensorLayout.Contiguous(BatchSize, KvLength, NumKvHeads, ValueHeadDim),
            "batchSize, kvLength, numKvHeads, valueHeadDim"),
        Output => new("output", OperandRole.Output, Type, TensorLayout.Contiguous(BatchSize, QueryLength, NumHeads, ValueHeadDim),
            "batchSize, queryLength, numHeads, valueHeadDim"),
        Lse => new("lse", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(BatchSize, NumHeads, QueryLength),
            "batchSize, numHeads, queryLength", IsOptional: true),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops
    {
        get
        {
            double visible = IsCausal
                ? (Math.Max(0.0, KvLength - QueryLength) + KvLength) / 2 * Math.Min(QueryLength, KvLength)
                : (double)QueryLength * KvLength;
            return 2.0 * BatchSize * NumHeads * visible * (HeadDim + ValueHeadDim);
        }
    }

    /// <inheritdoc/>
    public double Bytes =>
        (double)BatchSize * (HeadDim + ValueHeadDim)
        * ((double)NumHeads * QueryLength * Type.SizeInBytes() + (double)NumKvHeads * KvLength * KvType.SizeInBytes());

    /// <inheritdoc/>
    public string? FindError() =>
        BatchSize < 0 || QueryLength < 0 || KvLength < 0 || NumHeads < 0 ? "Sizes must not be negative."
        : NumKvHeads < 1 || NumHeads % NumKvHeads != 0
            ? $"numHeads must be a multiple of numKvHeads but {NumHeads} is no multiple of {NumKvHeads}."
        : HeadDim is < 1 or > MaxHeadDim ? $"headDim must be 1 to {MaxHeadDim} but is {HeadDim}."
        : ValueHeadDim is < 1 or > MaxHeadDim ? $"valueHeadDim must be 1 to {MaxHeadDim} but is {ValueHeadDim}."
        : !float.IsFinite(Scale) ? "softmaxScale must be finite."
        : Type == DataType.Int32 || KvType == DataType.Int32 ? "Attention takes f32, f16 or bf16 tensors, not i32."
        : null;

    /// <inheritdoc/>
    public static AttentionProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int heads = text.TakeSize("h", 1), headDim = text.TakeSize("d");
        DataType type = text.TakeType(DataType.Float32);
        float scale = text.TakeNumber("scale", float.NaN);
        return new AttentionProblem(
            text.TakeSize("b", 1), heads, text.TakeSize("kv", heads), text.TakeSize("q"), text.TakeSize("k"),
            headDim, text.TakeSize("dv", headDim), text.TakeFlag("causal"), float.IsNaN(scale) ? null : scale,
            type, text.TakeType("kvtype", type));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("b", BatchSize), ProblemText.Word("h", NumHeads), ProblemText.Word("kv", NumKvHeads, NumHeads),
        ProblemText.Word("q", QueryLength), ProblemText.Word("k", KvLength), ProblemText.Word("d", HeadDim),
        ProblemText.Word("dv", ValueHeadDim, HeadDim), ProblemText.Flag("causal", IsCausal),
        SoftmaxScale is { } scale ? ProblemText.Word("scale", scale) : "",
        Type.ToText(), ProblemText.Flag("kvtype=" + KvType.ToText(), KvType != Type));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
