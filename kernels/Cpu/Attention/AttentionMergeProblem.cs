namespace KernelEngine;

/// <summary>
/// Merges attention over one set of keys with attention over another, row by row and in place: with the weights
/// w = exp(lse − m), w' = exp(otherLse − m) and m the larger of both,
/// <code>
/// output = (w · output + w' · otherOutput) / (w + w')        lse = m + ln(w + w')
/// </code>
/// A part that saw no key has lse −∞ and weight 0: its output is not read. When neither saw one, the output is 0 and lse −∞.
/// Merging is commutative and associative, so that keys may be cut into any parts (Juravsky et al. 2024, arXiv:2402.05099).
/// Text form: <c>b=2 h=8 q=1 d=64 bf16 othertype=f32</c>.
/// </summary>
/// <param name="BatchSize">Sequences (<c>b</c>, default 1).</param>
/// <param name="NumHeads">Query heads (<c>h</c>, default 1).</param>
/// <param name="QueryLength">Query rows of each sequence (<c>q</c>).</param>
/// <param name="ValueHeadDim">Elements of an output row (<c>d</c>), 1 to 256.</param>
/// <param name="Type">Storage of the output (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
/// <param name="OtherType">Storage of the other output (<c>othertype=f32</c>, default <see cref="Type"/>).</param>
public readonly record struct AttentionMergeProblem(
    int BatchSize, int NumHeads, int QueryLength, int ValueHeadDim, DataType Type = DataType.Float32, DataType OtherType = DataType.Float32)
    : IProblem<AttentionMergeProblem>
{
    /// <summary>Index of the output operand, [batchSize, queryLength, numHeads, valueHeadDim], merged in place.</summary>
    public const int Output = 0;

    /// <summary>Index of the log-sum-exp operand, f32 [batchSize, numHeads, queryLength], natural log, merged in place.</summary>
    public const int Lse = 1;

    /// <summary>Index of the output over the other keys, shaped as the output.</summary>
    public const int OtherOutput = 2;

    /// <summary>Index of its log-sum-exp, shaped as lse.</summary>
    public const int OtherLse = 3;

    /// <inheritdoc/>
    public int OperandCount => 4;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Output => new("output", OperandRole.InOut, Type, OutputShape, OutputDimensions),
        Lse => new("lse", OperandRole.InOut, DataType.Float32, LseShape, LseDimensions),
        OtherOutput => new("otherOutput", OperandRole.Input, OtherType, OutputShape, OutputDimensions),
        OtherLse => new("otherLse", OperandRole.Input, DataType.Float32, LseShape, LseDimensions),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <summary>Rows of all heads and sequences.</summary>
    public long Rows => (long)BatchSize * QueryLength * NumHeads;

    /// <inheritdoc/>
    public double Flops => Rows * (3.0 * ValueHeadDim + 6);

    /// <inheritdoc/>
    public double Bytes => Rows * (ValueHeadDim * (2.0 * Type.SizeInBytes() + OtherType.SizeInBytes()) + 12);

    /// <inheritdoc/>
    public string? FindError() =>
        BatchSize < 0 || NumHeads < 0 || QueryLength < 0 ? "Sizes must not be negative."
        : ValueHeadDim is < 1 or > AttentionProblem.MaxHeadDim
            ? $"valueHeadDim must be 1 to {AttentionProblem.MaxHeadDim} but is {ValueHeadDim}."
        : !Type.IsFloat() ? $"Attention takes f32, f16 or bf16 outputs, not {Type.ToText()}."
        : !OtherType.IsFloat() ? $"Attention takes f32, f16 or bf16 outputs, not {OtherType.ToText()}."
        : null;

    /// <inheritdoc/>
    public static AttentionMergeProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        DataType type = text.TakeType(DataType.Float32);
        return new AttentionMergeProblem(
            text.TakeSize("b", 1), text.TakeSize("h", 1), text.TakeSize("q"), text.TakeSize("d"), type, text.TakeType("othertype", type));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("b", BatchSize), ProblemText.Word("h", NumHeads), ProblemText.Word("q", QueryLength),
        ProblemText.Word("d", ValueHeadDim), Type.ToText(), ProblemText.Flag("othertype=" + OtherType.ToText(), OtherType != Type));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private const string OutputDimensions = "batchSize, queryLength, numHeads, valueHeadDim", LseDimensions = "batchSize, numHeads, queryLength";

    private TensorLayout OutputShape => TensorLayout.Contiguous(BatchSize, QueryLength, NumHeads, ValueHeadDim);

    private TensorLayout LseShape => TensorLayout.Contiguous(BatchSize, NumHeads, QueryLength);
}
