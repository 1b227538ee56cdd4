namespace KernelEngine;

/// <summary>
/// The gradients of a routed feed-forward layer (<see cref="FeedForwardProblem"/>) from that of its output; what was selected has none.
/// With c = c_tj, for each token and each of its blocks,
/// <code>
/// e = downWeight_jᵀ · gradOutput_t      du = c · e · ∂h/∂u      dv = c · e · ∂h/∂v, with v = gateWeight_j · hidden_t
/// gradHidden_t = Σ_j upWeight_jᵀ · du + gateWeight_jᵀ · dv      gradGates_tj = blocks / activeBlocks · e · h, 0 for other blocks
/// gradUpWeight_j = Σ_t du · hidden_tᵀ      gradGateWeight_j = Σ_t dv · hidden_tᵀ      gradUpBias_j = Σ_t du
/// gradDownWeight_j = Σ_t c · gradOutput_t · hᵀ      gradDownBias = Σ_t gradOutput_t
/// </code>
/// Sums are float32, whatever the storage; the gradients of a block that no token uses are 0. What is left out is not computed.
/// Text form: that of the problem, and <c>units</c> where the units were kept; without, they are computed again.
/// </summary>
/// <param name="Forward">The forward pass.</param>
public readonly record struct FeedForwardBackwardProblem(FeedForwardProblem Forward) : IProblem<FeedForwardBackwardProblem>
{
    /// <summary>Index of the units that the forward pass kept. Smaller indices are those of <see cref="FeedForwardProblem"/>'s inputs.</summary>
    public const int Units = FeedForwardProblem.InputCount;

    /// <summary>Index of the gradient of the output, [tokens, hiddenSize].</summary>
    public const int GradOutput = Units + 1;

    /// <summary>Index of the gradient of the hidden rows, [tokens, hiddenSize].</summary>
    public const int GradHidden = Units + 2;

    /// <summary>Index of the gradient of upWeight, shaped as it.</summary>
    public const int GradUpWeight = Units + 3;

    /// <summary>Index of the gradient of gateWeight, shaped as it.</summary>
    public const int GradGateWeight = Units + 4;

    /// <summary>Index of the gradient of downWeight, shaped as it.</summary>
    public const int GradDownWeight = Units + 5;

    /// <summary>Index of the gradient of upBias, shaped as it.</summary>
    public const int GradUpBias = Units + 6;

    /// <summary>Index of the gradient of downBias, shaped as it.</summary>
    public const int GradDownBias = Units + 7;

    /// <summary>Index of the gradient of the gates, f32 [tokens, blocks].</summary>
    public const int GradGates = Units + 8;

    /// <summary>How many operands there are, absent ones included.</summary>
    public const int Count = Units + 9;

    /// <summary>Whether the forward pass kept its units (<c>units</c>).</summary>
    public bool HasUnits { get; init; }

    /// <inheritdoc/>
    public int OperandCount => Count;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        FeedForwardProblem.DownBias => Operand.Absent("downBias"),
        < FeedForwardProblem.InputCount => Forward.GetOperand(index),
        Units => HasUnits
            ? Forward.GetOperand(FeedForwardProblem.Units) with { Role = OperandRole.Input, IsOptional = false } : Operand.Absent("units"),
        GradOutput => Forward.GetOperand(FeedForwardProblem.Output) with { Name = "gradOutput", Role = OperandRole.Input },
        GradHidden => Gradient(FeedForwardProblem.Hidden, "gradHidden"),
        GradUpWeight => Gradient(FeedForwardProblem.UpWeight, "gradUpWeight"),
        GradGateWeight => Gradient(FeedForwardProblem.GateWeight, "gradGateWeight"),
        GradDownWeight => Gradient(FeedForwardProblem.DownWeight, "gradDownWeight"),
        GradUpBias => Gradient(FeedForwardProblem.UpBias, "gradUpBias"),
        GradDownBias => Gradient(FeedForwardProblem.DownBias, "gradDownBias"),
        GradGates => Gradient(FeedForwardProblem.Gates, "gradGates"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <summary>Two products for each of the forward pass's, and its first ones again where their results were not kept.</summary>
    public double Flops => (Forward.IsGated ? HasUnits ? 6 : 8 : HasUnits ? 4 : 5) * Forward.ProductFlops;

    /// <inheritdoc/>
    public double Bytes => 2 * Forward.Bytes;

    /// <inheritdoc/>
    public string? FindError() => Forward.FindError();

    /// <inheritdoc/>
    public static string? FindContentError(in FeedForwardBackwardProblem problem, ReadOnlySpan<RawView> operands) =>
        problem.Forward.FindSelectedError(operands[FeedForwardProblem.Selected]);

    /// <inheritdoc/>
    public static FeedForwardBackwardProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new FeedForwardBackwardProblem(FeedForwardProblem.Read(text)) { HasUnits = text.TakeFlag("units") };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(Forward.ToText(), ProblemText.Flag("units", HasUnits));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private Operand Gradient(int index, string name) => Forward.GetOperand(index) is { Role: not OperandRole.Absent } operand
        ? operand with { Name = name, Role = OperandRole.Output, IsOptional = true, Values = default }
        : Operand.Absent(name);
}
