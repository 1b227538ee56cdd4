namespace KernelEngine;

/// <summary>
/// Merges the partial states of the shards of a vocabulary and makes the loss of them, or one state again: with M the largest
/// of the m, Σ exp(a − M) = Σ_parts exp(m − M) · (part's sum); a label's logit is that of the one shard that has it. Merging is
/// commutative and associative: any reducer may combine the parts, two by two or all at once.
/// Text form: that of the loss, and <c>parts=4</c>.
/// </summary>
/// <param name="Loss">Rows, classes and the loss.</param>
/// <param name="Parts">Partial states of each position (<c>parts</c>).</param>
public readonly record struct CrossEntropyMergeProblem(CrossEntropyLoss Loss, int Parts) : IProblem<CrossEntropyMergeProblem>
{
    /// <summary>Index of the partial states, f32 [parts, positions, stateSize], as <see cref="CrossEntropyProblem.State"/> has them.</summary>
    public const int States = 0;

    /// <summary>Index of the parts' most likely classes, i32 [parts, positions]; may be left out when none is wanted.</summary>
    public const int BestClasses = 1;

    /// <summary>Index of the merged state, f32 [positions, stateSize]. The other operands have the indices they have in <see cref="CrossEntropyProblem"/>.</summary>
    public const int State = CrossEntropyProblem.State;

    /// <inheritdoc/>
    public int OperandCount => CrossEntropyProblem.Count;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        States => new("states", OperandRole.Input, DataType.Float32,
            TensorLayout.Contiguous(Parts, Loss.Positions, CrossEntropyProblem.StateSize), "parts, positions, stateSize", Values: OperandValues.Positive),
        BestClasses => new("bestClasses", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Parts, Loss.Positions), "parts, positions",
            IsOptional: true, Values: OperandValues.Below(Loss.Classes)),
        CrossEntropyProblem.Bias => Operand.Absent("bias"),
        CrossEntropyProblem.MeanLogit => Operand.Absent("meanLogit"),
        State => new("state", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Loss.Positions, CrossEntropyProblem.StateSize),
            "positions, stateSize", IsOptional: true),
        _ => new CrossEntropyProblem(Loss, 0).GetOperand(index),
    };

    /// <inheritdoc/>
    public double Flops => 8.0 * Parts * Loss.Positions;

    /// <inheritdoc/>
    public double Bytes => 4.0 * (Parts + 1) * Loss.Positions * (CrossEntropyProblem.StateSize + 1);

    /// <inheritdoc/>
    public string? FindError() => Loss.FindError() ?? (Parts < 1 ? $"There must be at least one part, not {Parts}." : null);

    /// <inheritdoc/>
    public static string? FindContentError(in CrossEntropyMergeProblem problem, ReadOnlySpan<RawView> operands) =>
        problem.Loss.FindTargetError(operands[CrossEntropyProblem.Targets]);

    /// <inheritdoc/>
    public static CrossEntropyMergeProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new CrossEntropyMergeProblem(CrossEntropyLoss.Read(text), text.TakeSize("parts"));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(Loss.ToText(), ProblemText.Word("parts", Parts));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
