namespace KernelEngine;

/// <summary>
/// Attention of a few query rows over a long cache that says beside its output what weight each key got from these rows:
/// <code>
/// p_ij = exp(a_ij − lse_i), 0 where key j is hidden from row i        columnMass_j = Σ_i p_ij
/// </code>
/// What cache policies gather while tokens are generated (H2O, arXiv:2306.14048). Output, log-sum-exp, operands and text form are those
/// of attention-decode; with <c>add</c> the sums are added to what is there, so that steps gather without another pass.
/// </summary>
/// <param name="Forward">Attention; its sequences are not ragged.</param>
/// <param name="AddsMass">Whether the sums are added to what <see cref="ColumnMass"/> holds, not written (<c>add</c>).</param>
public readonly record struct AttentionDecodeMassProblem(AttentionProblem Forward, bool AddsMass = false) : IProblem<AttentionDecodeMassProblem>
{
    /// <summary>
    /// Index of the sums over the rows, f32 [batchSize, numHeads, kvLength]. Smaller indices are those of <see cref="AttentionProblem"/>;
    /// the log-sum-exp is always written.
    /// </summary>
    public const int ColumnMass = AttentionProblem.Count;

    /// <inheritdoc/>
    public int OperandCount => ColumnMass + 1;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        ColumnMass => new("columnMass", AddsMass ? OperandRole.InOut : OperandRole.Output, DataType.Float32,
            TensorLayout.Contiguous(Forward.BatchSize, Forward.NumHeads, Forward.KvLength), "batchSize, numHeads, kvLength"),
        AttentionProblem.Lse => Forward.GetOperand(index) with { IsOptional = false },
        _ => Forward.GetOperand(index),
    };

    /// <inheritdoc/>
    public double Flops => Forward.Flops;

    /// <inheritdoc/>
    public double Bytes => Forward.Bytes + (AddsMass ? 8.0 : 4.0) * Forward.BatchSize * Forward.NumHeads * Forward.KvLength;

    /// <inheritdoc/>
    public string? FindError() => Forward.FindError()
        ?? (Forward.RaggedSequences > 0 ? "Weights are summed for sequences of a batch, not for ragged ones." : null);

    /// <inheritdoc/>
    public static string? FindContentError(in AttentionDecodeMassProblem problem, ReadOnlySpan<RawView> operands) =>
        AttentionProblem.FindContentError(problem.Forward, operands);

    /// <inheritdoc/>
    public static AttentionDecodeMassProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new AttentionDecodeMassProblem(AttentionProblem.Read(text), text.TakeFlag("add"));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(Forward.ToText(), ProblemText.Flag("add", AddsMass));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
