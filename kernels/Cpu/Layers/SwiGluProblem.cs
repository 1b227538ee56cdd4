namespace KernelEngine;

/// <summary>
/// The gate of a SwiGLU feed-forward layer (Shazeer 2020, arXiv:2002.05202): <c>output = silu(gate) · up</c> element by
/// element, with <c>silu(x) = x / (1 + exp(−x))</c>. Text form: <c>m=512 n=2048</c>.
/// </summary>
/// <param name="Rows">Rows: tokens (<c>m</c>, default 1).</param>
/// <param name="Size">Elements of a row (<c>n</c>).</param>
public readonly record struct SwiGluProblem(int Rows, int Size) : IProblem<SwiGluProblem>
{
    /// <summary>Index of the gate operand, f32 [rows, size].</summary>
    public const int Gate = 0;

    /// <summary>Index of the up operand, f32 [rows, size].</summary>
    public const int Up = 1;

    /// <summary>Index of the output operand, f32 [rows, size].</summary>
    public const int Output = 2;

    /// <inheritdoc/>
    public int OperandCount => 3;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Gate => new("gate", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Rows, Size), "rows, size"),
        Up => new("up", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Rows, Size), "rows, size"),
        Output => new("output", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Rows, Size), "rows, size"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 4.0 * Rows * Size;

    /// <inheritdoc/>
    public double Bytes => 12.0 * Rows * Size;

    /// <inheritdoc/>
    public string? FindError() => Rows < 0 || Size < 0 ? "Sizes must not be negative." : null;

    /// <inheritdoc/>
    public static SwiGluProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new SwiGluProblem(text.TakeSize("m", 1), text.TakeSize("n"));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(ProblemText.Word("m", Rows), ProblemText.Word("n", Size));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
