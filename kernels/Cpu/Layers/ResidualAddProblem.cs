namespace KernelEngine;

/// <summary>
/// The residual connection around a transformer's block, in place: <c>residual += input</c>. Text form: <c>m=512 n=768</c>.
/// </summary>
/// <param name="Rows">Rows: tokens (<c>m</c>, default 1).</param>
/// <param name="Size">Elements of a row (<c>n</c>).</param>
public readonly record struct ResidualAddProblem(int Rows, int Size) : IProblem<ResidualAddProblem>
{
    /// <summary>Index of the residual operand, f32 [rows, size], added to in place.</summary>
    public const int Residual = 0;

    /// <summary>Index of the input operand, f32 [rows, size].</summary>
    public const int Input = 1;

    /// <inheritdoc/>
    public int OperandCount => 2;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Residual => new("residual", OperandRole.InOut, DataType.Float32, TensorLayout.Contiguous(Rows, Size), "rows, size"),
        Input => new("input", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Rows, Size), "rows, size"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => (double)Rows * Size;

    /// <inheritdoc/>
    public double Bytes => 12.0 * Rows * Size;

    /// <inheritdoc/>
    public string? FindError() => Rows < 0 || Size < 0 ? "Sizes must not be negative." : null;

    /// <inheritdoc/>
    public static ResidualAddProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new ResidualAddProblem(text.TakeSize("m", 1), text.TakeSize("n"));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(ProblemText.Word("m", Rows), ProblemText.Word("n", Size));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
