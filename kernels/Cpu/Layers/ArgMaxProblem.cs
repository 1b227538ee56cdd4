namespace KernelEngine;

/// <summary>
/// The index of the largest logit of each row: greedy decoding. Of equal logits the lowest index wins. A row in which there
/// is nothing to choose gives −1: one that holds a NaN, or only −∞, or nothing. Text form: <c>m=4 n=32000</c>.
/// </summary>
/// <param name="Rows">Rows, each decided by itself (<c>m</c>, default 1).</param>
/// <param name="Size">Logits of a row: the vocabulary (<c>n</c>).</param>
public readonly record struct ArgMaxProblem(int Rows, int Size) : IProblem<ArgMaxProblem>
{
    /// <summary>Index of the logits operand, f32 [rows, size].</summary>
    public const int Logits = 0;

    /// <summary>Index of the indices operand, i32 [rows]: 0 to size − 1, or −1 when there is nothing to choose.</summary>
    public const int Indices = 1;

    /// <inheritdoc/>
    public int OperandCount => 2;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Logits => new("logits", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Rows, Size), "rows, size"),
        Indices => new("indices", OperandRole.Output, DataType.Int32, TensorLayout.Contiguous(Rows), "rows"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => (double)Rows * Size;

    /// <inheritdoc/>
    public double Bytes => 4.0 * Rows * Size + 4.0 * Rows;

    /// <inheritdoc/>
    public string? FindError() => Rows < 0 || Size < 0 ? "Sizes must not be negative." : null;

    /// <inheritdoc/>
    public static ArgMaxProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new ArgMaxProblem(text.TakeSize("m", 1), text.TakeSize("n"));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(ProblemText.Word("m", Rows), ProblemText.Word("n", Size));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
