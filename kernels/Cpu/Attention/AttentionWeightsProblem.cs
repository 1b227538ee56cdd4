namespace KernelEngine;

/// <summary>
/// The attention weights of some rows of a forward pass, from its log-sum-exp, and what each key got from these rows:
/// <code>
/// p_ij = exp(a_ij − lse_i), 0 where key j is hidden from row i        columnMass_j = Σ_i p_ij
/// </code>
/// What cache policies score keys by (H2O, arXiv:2306.14048; SnapKV, arXiv:2404.14469); without the weights no matrix is
/// made. A sink's logit is in the log-sum-exp already. Text form: that of the forward pass, which is described whole, and the
/// rows: <c>q=512 k=512 d=64 causal row=480 rows=32</c>. With <c>add</c> the sums are added to what is there.
/// </summary>
/// <param name="Forward">The forward pass, all its query rows.</param>
/// <param name="FirstRow">The first row that is wanted (<c>row</c>, default 0).</param>
/// <param name="RowCount">How many (<c>rows</c>, default those from row on).</param>
/// <param name="AddsMass">Whether the sums are added to what <see cref="ColumnMass"/> holds, not written (<c>add</c>).</param>
public readonly record struct AttentionWeightsProblem(AttentionProblem Forward, int FirstRow, int RowCount, bool AddsMass = false)
    : IProblem<AttentionWeightsProblem>
{
    /// <summary>
    /// Index of the weights, f32 [batchSize, numHeads, rowCount, kvLength], written if present. Smaller indices are those of
    /// <see cref="AttentionProblem"/>: query and lse hold the wanted rows alone, bias and masks all, and what has no part in the
    /// weights is absent.
    /// </summary>
    public const int Weights = AttentionProblem.Count;

    /// <summary>Index of the sums over the rows, f32 [batchSize, numHeads, kvLength], written or added to if present.</summary>
    public const int ColumnMass = Weights + 1;

    /// <inheritdoc/>
    public int OperandCount => ColumnMass + 1;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        AttentionProblem.Query => new("query", OperandRole.Input, Forward.Type,
            TensorLayout.Contiguous(Forward.BatchSize, RowCount, Forward.NumHeads, Forward.HeadDim), "batchSize, rowCount, numHeads, headDim"),
        AttentionProblem.Lse => new("lse", OperandRole.Input, DataType.Float32,
            TensorLayout.Contiguous(Forward.BatchSize, Forward.NumHeads, RowCount), "batchSize, numHeads, rowCount", Values: OperandValues.Between(LikelyLse, LikelyLse + 2)),
        AttentionProblem.Value => Operand.Absent("value"),
        AttentionProblem.Output => Operand.Absent("output"),
        AttentionProblem.SinkLogits => Operand.Absent("sinkLogits"),
        AttentionProblem.ValueScale => Operand.Absent("valueScale"),
        AttentionProblem.HeadGain => Operand.Absent("headGain"),
        AttentionProblem.HeadOffset => Operand.Absent("headOffset"),
        < AttentionProblem.Count => Forward.GetOperand(index),
        Weights => new("weights", OperandRole.Output, DataType.Float32,
            TensorLayout.Contiguous(Forward.BatchSize, Forward.NumHeads, RowCount, Forward.KvLength), "batchSize, numHeads, rowCount, kvLength",
            IsOptional: true),
        ColumnMass => new("columnMass", AddsMass ? OperandRole.InOut : OperandRole.Output, DataType.Float32,
            TensorLayout.Contiguous(Forward.BatchSize, Forward.NumHeads, Forward.KvLength), "batchSize, numHeads, kvLength", IsOptional: true),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * Forward.HeadDim * Forward.VisiblePairs * Share;

    /// <inheritdoc/>
    public double Bytes => (double)Forward.BatchSize
        * ((double)Forward.NumHeads * RowCount * (Forward.HeadDim * Forward.Type.SizeInBytes() + 4.0)
            + (double)Forward.NumKvHeads * Forward.KvLength * Forward.HeadDim * Forward.KvType.SizeInBytes());

    /// <inheritdoc/>
    public string? FindError() =>
        Forward.FindError()
        ?? (FirstRow < 0 || RowCount < 0 || (long)FirstRow + RowCount > Forward.QueryLength
            ? $"Rows {FirstRow} .. {(long)FirstRow + RowCount - 1} must lie within queryLength={Forward.QueryLength}."
            : Forward.RaggedSequences > 0 && RowCount != Forward.QueryLength ? "Ragged sequences give the weights of all rows, or none."
            : null);

    /// <inheritdoc/>
    public static string? FindContentError(in AttentionWeightsProblem problem, ReadOnlySpan<RawView> operands) =>
        AttentionProblem.FindContentError(problem.Forward, operands);

    /// <inheritdoc/>
    public static AttentionWeightsProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var forward = AttentionProblem.Read(text);
        int first = text.TakeSize("row", 0);
        return new AttentionWeightsProblem(
            forward, first, text.TakeSize("rows", Math.Max(0, forward.QueryLength - first)), text.TakeFlag("add"));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        Forward.ToText(), ProblemText.Word("row", FirstRow, 0), ProblemText.Word("rows", RowCount, Forward.QueryLength - FirstRow),
        ProblemText.Flag("add", AddsMass));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    // About the largest score that standard normal queries, keys and biases bring.
    private long LikelyLse => (long)Math.Ceiling(4 * Math.Abs(Forward.Scale) * Math.Sqrt(Forward.HeadDim))
        + (Forward.BiasShape != 0 ? 3 : 0) + (Forward.Has(AttentionOperands.SlotBias) ? 3 : 0);

    private double Share => Forward.QueryLength == 0 ? 0 : (double)RowCount / Forward.QueryLength;
}
