namespace KernelEngine;

/// <summary>
/// The gradients of attention (Dao et al. 2022, arXiv:2205.14135, section B): from query, key, value, the forward pass's
/// output and log-sum-exp, and the gradient of the output,
/// <code>
/// p_ij = exp(a_ij − lse_i)      δ_i = Σ_c gradOutput_ic · output_ic − gradLse_i
/// dA_ij = p_ij · (gradOutput_i · value_j − δ_i)          dX = dA · (1 − (cap / softCap)²)
/// gradQuery_i = scale · Σ_j dX_ij key_j     gradKey_j = scale · Σ_i dX_ij query_i     gradValue_j = Σ_i p_ij gradOutput_i
/// gradBias = dA      gradSlope = −Σ dA · |i + offset − j|      gradSink = −Σ_i exp(sink − lse_i) · δ_i
/// </code>
/// Text form: that of <see cref="AttentionProblem"/>, and <c>gradlse</c>.
/// </summary>
/// <param name="Forward">The forward pass.</param>
/// <param name="HasGradLse">Whether the loss depends on the log-sum-exp too (<c>gradlse</c>).</param>
public readonly record struct AttentionBackwardProblem(AttentionProblem Forward, bool HasGradLse = false) : IProblem<AttentionBackwardProblem>
{
    /// <summary>Index of the gradient of the output, shaped as the output. Smaller indices are those of <see cref="AttentionProblem"/>, all of them inputs.</summary>
    public const int GradOutput = AttentionProblem.Count;

    /// <summary>Index of the gradient of the log-sum-exp, f32 [batchSize, numHeads, queryLength].</summary>
    public const int GradLse = GradOutput + 1;

    /// <summary>Index of the query's gradient, shaped and stored as the query.</summary>
    public const int GradQuery = GradOutput + 2;

    /// <summary>Index of the key's gradient.</summary>
    public const int GradKey = GradOutput + 3;

    /// <summary>Index of the value's gradient.</summary>
    public const int GradValue = GradOutput + 4;

    /// <summary>Index of the bias's gradient, shaped and stored as the bias: summed over the dimensions along which that repeats.</summary>
    public const int GradBias = GradOutput + 5;

    /// <summary>Index of the sink logits' gradient, f32 [numHeads].</summary>
    public const int GradSinkLogits = GradOutput + 6;

    /// <summary>Index of the ALiBi slopes' gradient, f32 [sequences, numHeads].</summary>
    public const int GradAlibiSlopes = GradOutput + 7;

    /// <inheritdoc/>
    public int OperandCount => GradOutput + 8;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        AttentionProblem.Output or AttentionProblem.Lse => Forward.GetOperand(index) with { Role = OperandRole.Input, IsOptional = false },
        < AttentionProblem.Count => Forward.GetOperand(index),
        GradOutput => Forward.GetOperand(AttentionProblem.Output) with { Name = "gradOutput", Role = OperandRole.Input },
        GradLse => HasGradLse
            ? Forward.GetOperand(AttentionProblem.Lse) with { Name = "gradLse", Role = OperandRole.Input, IsOptional = false }
            : Operand.Absent("gradLse"),
        GradQuery => Gradient(AttentionProblem.Query, "gradQuery"),
        GradKey => Gradient(AttentionProblem.Key, "gradKey"),
        GradValue => Gradient(AttentionProblem.Value, "gradValue"),
        GradBias => Gradient(AttentionProblem.Bias, "gradBias"),
        GradSinkLogits => Gradient(AttentionProblem.SinkLogits, "gradSinkLogits"),
        GradAlibiSlopes => Gradient(AttentionProblem.AlibiSlopes, "gradAlibiSlopes"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => Forward.VisiblePairs * (6.0 * Forward.HeadDim + 4.0 * Forward.ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes => 2 * Forward.Bytes + (double)Forward.BatchSize * Forward.QueryLength * Forward.NumHeads * (Forward.ValueHeadDim + 2) * Forward.Type.SizeInBytes();

    /// <inheritdoc/>
    public string? FindError() =>
        Forward.FindError()
        ?? (Forward.PageSize > 0 || Forward.KvType == DataType.Int8
            || Forward.Has(AttentionOperands.KvLengths | AttentionOperands.SlotBias | AttentionOperands.HeadGain | AttentionOperands.HeadOffset)
            ? "Gradients are not defined through a cache: no pages, lengths, slot biases, i8 storage, head gains or offsets."
            : null);

    /// <inheritdoc/>
    public static string? FindContentError(in AttentionBackwardProblem problem, ReadOnlySpan<RawView> operands) =>
        AttentionProblem.FindContentError(problem.Forward, operands);

    /// <inheritdoc/>
    public static AttentionBackwardProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new AttentionBackwardProblem(AttentionProblem.Read(text), text.TakeFlag("gradlse"));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(Forward.ToText(), ProblemText.Flag("gradlse", HasGradLse));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private Operand Gradient(int index, string name) => Forward.GetOperand(index) is { Role: not OperandRole.Absent } operand
        ? operand with { Name = name, Role = OperandRole.Output, IsOptional = true, Values = default }
        : Operand.Absent(name);
}
