namespace KernelEngine;

/// <summary>
/// Looks rows of an embedding table up: <c>output_t = table[tokens_t]</c>, widened to f32. A token id outside the table is
/// a caller's error; kernels read the nearest row instead of other memory. Text form: <c>t=512 v=32000 n=768 w=bf16</c>.
/// </summary>
/// <param name="Tokens">Token ids, rows of the output (<c>t</c>, default 1).</param>
/// <param name="VocabSize">Rows of the table (<c>v</c>).</param>
/// <param name="Size">Elements of a row (<c>n</c>).</param>
/// <param name="TableType">Storage of the table (<c>w</c>, default f32).</param>
public readonly record struct EmbeddingProblem(int Tokens, int VocabSize, int Size, DataType TableType = DataType.Float32)
    : IProblem<EmbeddingProblem>
{
    /// <summary>Index of the token ids, i32 [tokens], each 0 to vocabSize − 1.</summary>
    public const int TokenIds = 0;

    /// <summary>Index of the table, [vocabSize, size].</summary>
    public const int Table = 1;

    /// <summary>Index of the output operand, f32 [tokens, size].</summary>
    public const int Output = 2;

    /// <inheritdoc/>
    public int OperandCount => 3;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        TokenIds => new("tokens", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Tokens), "tokens", Values: OperandValues.Below(VocabSize)),
        Table => new("table", OperandRole.Input, TableType, TensorLayout.Contiguous(VocabSize, Size), "vocabSize, size"),
        Output => new("output", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Tokens, Size), "tokens, size"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 0;

    /// <inheritdoc/>
    public double Bytes => (double)Tokens * Size * (TableType.SizeInBytes() + 4) + 4.0 * Tokens;

    /// <inheritdoc/>
    public string? FindError() =>
        Tokens < 0 || VocabSize < 0 || Size < 0 ? "Sizes must not be negative."
        : VocabSize == 0 && Tokens > 0 ? "vocabSize must be at least 1 when there are tokens."
        : !TableType.IsFloat() ? $"The table must be f32, f16 or bf16, not {TableType.ToText()}."
        : null;

    /// <inheritdoc/>
    public static EmbeddingProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new EmbeddingProblem(text.TakeSize("t", 1), text.TakeSize("v"), text.TakeSize("n"), text.TakeType("w", DataType.Float32));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("t", Tokens), ProblemText.Word("v", VocabSize), ProblemText.Word("n", Size),
        ProblemText.Flag("w=" + TableType.ToText(), TableType != DataType.Float32));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
