namespace KernelEngine;

/// <summary>
/// Root-mean-square normalisation of rows (Zhang and Sennrich 2019, arXiv:1910.07467):
/// <c>output = weight · input / √(mean(input²) + epsilon)</c>. Text form: <c>m=512 n=768 eps=1E-06</c>.
/// </summary>
/// <param name="Rows">Rows, each normalised by itself: tokens (<c>m</c>, default 1).</param>
/// <param name="Size">Elements of a row (<c>n</c>).</param>
/// <param name="Epsilon">Added to the mean square (<c>eps</c>, default 1E-05).</param>
public readonly record struct RmsNormProblem(int Rows, int Size, float Epsilon = RmsNormProblem.DefaultEpsilon) : IProblem<RmsNormProblem>
{
    /// <summary>The epsilon of Llama models.</summary>
    public const float DefaultEpsilon = 1e-5f;

    /// <summary>Index of the input operand, f32 [rows, size].</summary>
    public const int Input = 0;

    /// <summary>Index of the weight operand, f32 [size].</summary>
    public const int Weight = 1;

    /// <summary>Index of the output operand, f32 [rows, size].</summary>
    public const int Output = 2;

    /// <inheritdoc/>
    public int OperandCount => 3;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Input => new("input", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Rows, Size), "rows, size"),
        Weight => new("weight", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Size), "size"),
        Output => new("output", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Rows, Size), "rows, size"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 4.0 * Rows * Size;

    /// <inheritdoc/>
    public double Bytes => 8.0 * Rows * Size + 4.0 * Size;

    /// <inheritdoc/>
    public string? FindError() =>
        Rows < 0 || Size < 0 ? "Sizes must not be negative."
        : !float.IsFinite(Epsilon) || Epsilon < 0 ? $"epsilon must be finite and not negative but is {Epsilon}."
        : null;

    /// <inheritdoc/>
    public static RmsNormProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new RmsNormProblem(text.TakeSize("m", 1), text.TakeSize("n"), text.TakeNumber("eps", DefaultEpsilon));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("m", Rows), ProblemText.Word("n", Size), ProblemText.Word("eps", Epsilon, DefaultEpsilon));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
