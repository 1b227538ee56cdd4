using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>
/// The gradients of attention over lists of keys (<see cref="SparseAttentionProblem"/>); the lists are constants. From the forward pass's
/// operands, its output and log-sum-exp, and the gradient of the output,
/// <code>
/// p_ij = exp(a_ij − lse_i)      δ_i = Σ_c gradOutput_ic · output_ic − gradLse_i
/// dX_ij = p_ij · (gradOutput_i · value_j − δ_i) · (1 − (a_ij / softCap)²)
/// gradQuery_i = scale · Σ_j dX_ij key_j     gradKey_j = scale · Σ_i dX_ij query_i     gradValue_j = Σ_i p_ij gradOutput_i
/// </code>
/// with sums over the pairs of a row i and a key j that it lists. Text form: that of the forward pass, and <c>gradlse</c>.
/// </summary>
/// <param name="Forward">The forward pass.</param>
/// <param name="HasGradLse">Whether the loss depends on the log-sum-exp too (<c>gradlse</c>).</param>
public readonly record struct SparseAttentionBackwardProblem(SparseAttentionProblem Forward, bool HasGradLse = false)
    : IProblem<SparseAttentionBackwardProblem>
{
    /// <summary>Index of the output's gradient, shaped as it. Smaller indices are those of <see cref="SparseAttentionProblem"/>, all inputs.</summary>
    public const int GradOutput = SparseAttentionProblem.Count;

    /// <summary>Index of the gradient of the log-sum-exp, f32 [batchSize, numHeads, queryLength].</summary>
    public const int GradLse = GradOutput + 1;

    /// <summary>Index of the query's gradient, shaped and stored as the query, written if present.</summary>
    public const int GradQuery = GradOutput + 2;

    /// <summary>Index of the key's gradient, written if present.</summary>
    public const int GradKey = GradOutput + 3;

    /// <summary>Index of the value's gradient, written if present.</summary>
    public const int GradValue = GradOutput + 4;

    /// <inheritdoc/>
    public int OperandCount => GradOutput + 5;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        SparseAttentionProblem.Output or SparseAttentionProblem.Lse =>
            Forward.GetOperand(index) with { Role = OperandRole.Input, IsOptional = false },
        < SparseAttentionProblem.Count => Forward.GetOperand(index),
        GradOutput => Forward.GetOperand(SparseAttentionProblem.Output) with { Name = "gradOutput", Role = OperandRole.Input },
        GradLse => HasGradLse
            ? Forward.GetOperand(SparseAttentionProblem.Lse) with { Name = "gradLse", Role = OperandRole.Input, IsOptional = false }
            : Operand.Absent("gradLse"),
        GradQuery => Gradient(SparseAttentionProblem.Query, "gradQuery"),
        GradKey => Gradient(SparseAttentionProblem.Key, "gradKey"),
        GradValue => Gradient(SparseAttentionProblem.Value, "gradValue"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => Forward.MaxPairs * (6.0 * Forward.HeadDim + 4.0 * Forward.ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes => 2 * Forward.Bytes
        + (double)Forward.BatchSize * Forward.QueryLength * Forward.NumHeads * (Forward.ValueHeadDim + 2) * Forward.Type.SizeInBytes();

    /// <inheritdoc/>
    public string? FindError() => Forward.FindError();

    /// <inheritdoc/>
    public static string? FindContentError(in SparseAttentionBackwardProblem problem, ReadOnlySpan<RawView> operands) =>
        SparseAttentionProblem.FindContentError(problem.Forward, operands);

    /// <inheritdoc/>
    public static string? FindContentError(in SparseAttentionBackwardProblem problem, ReadOnlySpan<RawView> operands, WorkerPool workers) =>
        SparseAttentionProblem.FindContentError(problem.Forward, operands, workers);

    /// <inheritdoc/>
    public static SparseAttentionBackwardProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new SparseAttentionBackwardProblem(SparseAttentionProblem.Read(text), text.TakeFlag("gradlse"));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(Forward.ToText(), ProblemText.Flag("gradlse", HasGradLse));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private Operand Gradient(int index, string name) =>
        Forward.GetOperand(index) with { Name = name, Role = OperandRole.Output, IsOptional = true };
}
