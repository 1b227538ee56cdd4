namespace KernelEngine;

/// <summary>
/// Loss and gradients of cross-entropy in one call, for a loss that is the last of a training step: its own gradient is 1. Where
/// the caller allows the memory, the logits of some positions at a time are kept between both passes and not computed twice.
/// Text form: that of <see cref="CrossEntropyProblem"/>, and <c>workspace=256</c>.
/// </summary>
/// <param name="Forward">The forward pass: with a reduction, of the whole vocabulary.</param>
/// <param name="WorkspaceMiB">Memory that may be used to keep logits, in MiB (<c>workspace</c>); 0 to compute them twice.</param>
public readonly record struct CrossEntropyTrainingProblem(CrossEntropyProblem Forward, int WorkspaceMiB = 0) : IProblem<CrossEntropyTrainingProblem>
{
    /// <summary>Index of the gradient of the hidden rows. Smaller indices are those of <see cref="CrossEntropyProblem"/>.</summary>
    public const int GradHidden = CrossEntropyProblem.Count;

    /// <summary>Index of the gradient of the classifier.</summary>
    public const int GradClassifier = GradHidden + 1;

    /// <summary>Index of the gradient of the bias.</summary>
    public const int GradBias = GradHidden + 2;

    /// <summary>How many operands there are, absent ones included.</summary>
    public const int Count = GradHidden + 3;

    /// <summary>The backward pass.</summary>
    public CrossEntropyBackwardProblem Backward => new(Forward);

    /// <inheritdoc/>
    public int OperandCount => Count;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index < CrossEntropyProblem.Count
        ? Forward.GetOperand(index)
        : Backward.GetOperand(CrossEntropyBackwardProblem.GradHidden + index - GradHidden);

    /// <inheritdoc/>
    public double Flops => 3 * Forward.Flops;

    /// <inheritdoc/>
    public double Bytes => 2 * Forward.Bytes;

    /// <inheritdoc/>
    public string? FindError() =>
        Forward.FindError()
        ?? (Forward.IsShard ? "A shard has no loss of its own: call forward, merge and backward."
            : Forward.Loss.Reduction == CrossEntropyReduction.None ? "Losses that are not reduced have gradients of their own: call forward and backward."
            : WorkspaceMiB < 0 ? "Sizes must not be negative."
            : null);

    /// <inheritdoc/>
    public static string? FindContentError(in CrossEntropyTrainingProblem problem, ReadOnlySpan<RawView> operands) =>
        CrossEntropyProblem.FindContentError(problem.Forward, operands);

    /// <inheritdoc/>
    public static CrossEntropyTrainingProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new CrossEntropyTrainingProblem(CrossEntropyProblem.Read(text), text.TakeSize("workspace", 0));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(Forward.ToText(), ProblemText.Word("workspace", WorkspaceMiB, 0));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
