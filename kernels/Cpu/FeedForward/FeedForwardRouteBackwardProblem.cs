namespace KernelEngine;

/// <summary>
/// The gradients of the router (<see cref="FeedForwardRouteProblem"/>) from those of its gates; what was selected has none. With
/// n_tj = gates_tj / Σ_k gates_tk and f_j = counts_j / (tokens · activeBlocks), which is a constant,
/// <code>
/// dz_tj = gates_tj · (1 − gates_tj) · (gradGates_tj + α · blocks / tokens · (f_j − Σ_k f_k · n_tk) / Σ_k gates_tk)
/// gradHidden_t += Σ_j dz_tj · weight_j      gradWeight_j = Σ_t dz_tj · hidden_t      gradBias_j = Σ_t dz_tj
/// </code>
/// The second addend is that of the balance loss, taken as one addend of the loss. Text form: that of the problem, and <c>gradgates</c>
/// where gates have gradients of their own.
/// </summary>
/// <param name="Forward">The forward pass; with a bias, it has a gradient.</param>
public readonly record struct FeedForwardRouteBackwardProblem(FeedForwardRouteProblem Forward) : IProblem<FeedForwardRouteBackwardProblem>
{
    /// <summary>Index of the hidden rows, [tokens, hiddenSize].</summary>
    public const int Hidden = 0;

    /// <summary>Index of the router's weight, f32 [blocks, hiddenSize].</summary>
    public const int Weight = 1;

    /// <summary>Index of the gates, f32 [tokens, blocks].</summary>
    public const int Gates = 2;

    /// <summary>Index of how many tokens use each block, i32 [blocks]; only with a balance loss.</summary>
    public const int Counts = 3;

    /// <summary>Index of the gradient of the gates, f32 [tokens, blocks].</summary>
    public const int GradGates = 4;

    /// <summary>Index of the gradient of the hidden rows, shaped as they, which is added to.</summary>
    public const int GradHidden = 5;

    /// <summary>Index of the gradient of the router's weight, f32 [blocks, hiddenSize].</summary>
    public const int GradWeight = 6;

    /// <summary>Index of the gradient of the router's bias, f32 [blocks].</summary>
    public const int GradBias = 7;

    /// <summary>Whether gates have gradients of their own (<c>gradgates</c>): those of a layer that multiplies by them.</summary>
    public bool HasGradGates { get; init; }

    /// <inheritdoc/>
    public int OperandCount => 8;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Hidden => Forward.GetOperand(FeedForwardRouteProblem.Hidden),
        Weight => Forward.GetOperand(FeedForwardRouteProblem.Weight),
        Gates => Forward.GetOperand(FeedForwardRouteProblem.Gates) with { Role = OperandRole.Input, Values = OperandValues.Uniform },
        Counts => Forward.BalanceWeight != 0
            ? Forward.GetOperand(FeedForwardRouteProblem.Counts) with { Role = OperandRole.Input, Values = OperandValues.Between(0, Forward.Tokens) }
            : Operand.Absent("counts"),
        GradGates => HasGradGates
            ? Forward.GetOperand(FeedForwardRouteProblem.Gates) with { Name = "gradGates", Role = OperandRole.Input }
            : Operand.Absent("gradGates"),
        GradHidden => Forward.GetOperand(FeedForwardRouteProblem.Hidden) with { Name = "gradHidden", Role = OperandRole.InOut, IsOptional = true },
        GradWeight => Gradient(FeedForwardRouteProblem.Weight, "gradWeight"),
        GradBias => Forward.HasBias ? Gradient(FeedForwardRouteProblem.Bias, "gradBias") : Operand.Absent("gradBias"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2 * Forward.Flops;

    /// <inheritdoc/>
    public double Bytes => 3 * Forward.Bytes;

    /// <inheritdoc/>
    public string? FindError() => Forward.FindError();

    /// <inheritdoc/>
    public static FeedForwardRouteBackwardProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new FeedForwardRouteBackwardProblem(FeedForwardRouteProblem.Read(text)) { HasGradGates = text.TakeFlag("gradgates") };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(Forward.ToText(), ProblemText.Flag("gradgates", HasGradGates));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private Operand Gradient(int index, string name) =>
        Forward.GetOperand(index) with { Name = name, Role = OperandRole.Output, IsOptional = true };
}
