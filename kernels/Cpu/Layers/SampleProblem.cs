namespace KernelEngine;

/// <summary>
/// Draws one token of each row from softmax(logits / temperature), cut to its most probable tokens:
/// <list type="number">
/// <item>Tokens stand in order of logit, largest first, then of index. A logit of −∞ is never drawn.</item>
/// <item>Top-k keeps the first k (0 for all).</item>
/// <item>Top-p keeps the shortest prefix of those whose share of their probability exceeds p (1 for all), at least one token
/// (Holtzman et al. 2020, arXiv:1904.09751).</item>
/// <item>Min-p keeps those at least minP times as probable as the first (0 for all; Nguyen et al. 2024, arXiv:2407.01082).</item>
/// <item>With u the row's uniform number, the first token whose cumulative probability exceeds u times the total of what was
/// kept is drawn; the last one kept if rounding leaves none.</item>
/// </list>
/// Temperature 0 is <see cref="ArgMaxProblem"/>: filters and uniform numbers are ignored. A row in which there is nothing to
/// draw gives −1: one that holds a NaN, or only −∞, or nothing, or (with a temperature) +∞.
/// Text form: <c>m=1 n=32000 temp=0.8 topk=40 topp=0.95 minp=0.05</c>.
/// </summary>
/// <param name="Rows">Rows, each drawn by itself (<c>m</c>, default 1).</param>
/// <param name="Size">Logits of a row: the vocabulary (<c>n</c>).</param>
/// <param name="Temperature">Divides the logits (<c>temp</c>, default 1); 0 for the largest logit.</param>
/// <param name="TopK">How many tokens to keep at most (<c>topk</c>, default 0 for all).</param>
/// <param name="TopP">The share of probability to keep, 0 to 1 (<c>topp</c>, default 1 for all).</param>
/// <param name="MinP">The least probability relative to the largest, 0 to 1 (<c>minp</c>, default 0 for all).</param>
public readonly record struct SampleProblem(
    int Rows, int Size, float Temperature = 1, int TopK = 0, float TopP = 1, float MinP = 0) : IProblem<SampleProblem>
{
    /// <summary>Index of the logits operand, f32 [rows, size].</summary>
    public const int Logits = 0;

    /// <summary>Index of the uniform numbers, f32 [rows], 0 to below 1; optional at temperature 0.</summary>
    public const int Uniforms = 1;

    /// <summary>Index of the indices operand, i32 [rows]: 0 to size − 1, or −1 when there is nothing to draw.</summary>
    public const int Indices = 2;

    /// <inheritdoc/>
    public int OperandCount => 3;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Logits => new("logits", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Rows, Size), "rows, size"),
        Uniforms => new("uniforms", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Rows), "rows",
            IsOptional: Temperature == 0, Values: OperandValues.Uniform),
        Indices => new("indices", OperandRole.Output, DataType.Int32, TensorLayout.Contiguous(Rows), "rows"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 4.0 * Rows * Size;

    /// <inheritdoc/>
    public double Bytes => 4.0 * Rows * Size + 8.0 * Rows;

    /// <inheritdoc/>
    public string? FindError() =>
        Rows < 0 || Size < 0 ? "Sizes must not be negative."
        : !float.IsFinite(Temperature) || Temperature < 0 ? $"temperature must be finite and not negative but is {Temperature}."
        : TopK < 0 ? $"topK must not be negative (0 keeps all) but is {TopK}."
        : !(TopP is >= 0 and <= 1) ? $"topP must be 0 to 1 but is {TopP}."
        : !(MinP is >= 0 and <= 1) ? $"minP must be 0 to 1 but is {MinP}."
        : null;

    /// <inheritdoc/>
    public static SampleProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new SampleProblem(
            text.TakeSize("m", 1), text.TakeSize("n"), text.TakeNumber("temp", 1), text.TakeSize("topk", 0),
            text.TakeNumber("topp", 1), text.TakeNumber("minp", 0));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("m", Rows), ProblemText.Word("n", Size), ProblemText.Word("temp", Temperature, 1),
        ProblemText.Word("topk", TopK, 0), ProblemText.Word("topp", TopP, 1), ProblemText.Word("minp", MinP, 0));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
