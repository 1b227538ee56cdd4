namespace KernelEngine;

/// <summary>
/// The gradients of <see cref="CrossEntropyProblem"/> from its inputs, its log-sum-exp L, and the gradients of what it wrote. With
/// p = exp(a − L), the divisors of the reduction, W = Σ_v w_v and g the gradient of the (mean, sum, ...) loss, 1 where it is left out,
/// <code>
/// k = g · u / divisor      k' = g · u / divisor' · 2 λ L + gradLse
/// dx_v = k · [(1 − α) · w_y · (p_v − [v = y]) + α / classes · (W · p_v − w_v)] + k' · p_v − gradEntropy · p_v · (ln p_v + H)
/// dx_v ← dx_v · (1 − (a_v / softCap)²) / temperature
/// gradHidden = Σ_v dx_v · classifier_v      gradClassifier_v = Σ dx_v · hidden      gradBias_v = Σ dx_v
/// </code>
/// Sums are float32, whatever the storage. With a filter ε, a tile in which every |dx|, before cap and temperature, is below
/// ε · k · (1 − α) · w_y of its position (|p − [v = y]| below ε, where there is neither smoothing nor z) may be left out of the
/// gradients of hidden rows and classifier, never of the bias; without one the gradients are exact. Of a shard, the gradient of
/// hidden rows is one addend and always f32.
/// Text form: that of the problem, and <c>gradlse gradentropy filter=0.0002 fullhidden fullclassifier order</c>.
/// </summary>
/// <param name="Forward">The forward pass.</param>
public readonly record struct CrossEntropyBackwardProblem(CrossEntropyProblem Forward) : IProblem<CrossEntropyBackwardProblem>
{
    /// <summary>Index of the log-sum-exp, f32 [positions]. Smaller indices are those of <see cref="CrossEntropyProblem"/>'s inputs.</summary>
    public const int Lse = CrossEntropyProblem.InputCount;

    /// <summary>Index of the entropies H, f32 [positions].</summary>
    public const int Entropy = Lse + 1;

    /// <summary>Index of the gradient of the loss, f32, shaped as it; 1 where it is left out.</summary>
    public const int GradLoss = Lse + 2;

    /// <summary>Index of the gradient of the log-sum-exp, f32 [positions].</summary>
    public const int GradLse = Lse + 3;

    /// <summary>Index of the gradient of the entropies, f32 [positions].</summary>
    public const int GradEntropy = Lse + 4;

    /// <summary>Index of the order in which classes are visited, i32 [vocabSize], each once: it gathers what a filter leaves out.</summary>
    public const int Order = Lse + 5;

    /// <summary>Index of the gradient of the hidden rows, shaped as they; 0 where the label is ignored.</summary>
    public const int GradHidden = Lse + 6;

    /// <summary>Index of the gradient of the classifier, shaped as it.</summary>
    public const int GradClassifier = Lse + 7;

    /// <summary>Index of the gradient of the bias, shaped as it.</summary>
    public const int GradBias = Lse + 8;

    /// <summary>How many operands there are, absent ones included.</summary>
    public const int Count = Lse + 9;

    /// <summary>Whether what follows depends on the log-sum-exp (<c>gradlse</c>).</summary>
    public bool HasGradLse { get; init; }

    /// <summary>Whether what follows depends on the entropies (<c>gradentropy</c>).</summary>
    public bool HasGradEntropy { get; init; }

    /// <summary>ε (<c>filter</c>); 0 for exact gradients.</summary>
    public float FilterEpsilon { get; init; }

    /// <summary>Whether the gradient of the hidden rows is not filtered (<c>fullhidden</c>).</summary>
    public bool IsHiddenFull { get; init; }

    /// <summary>Whether the gradient of the classifier is not filtered (<c>fullclassifier</c>).</summary>
    public bool IsClassifierFull { get; init; }

    /// <summary>Whether classes are visited in an order of the caller's (<c>order</c>).</summary>
    public bool HasOrder { get; init; }

    /// <inheritdoc/>
    public int OperandCount => Count;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        < CrossEntropyProblem.InputCount => index == CrossEntropyProblem.Divisor ? Forward.Loss.Divisor : Forward.GetOperand(index),
        Lse => Input("lse", true) with { Values = OperandValues.Between(LikelyLse, LikelyLse + 2) },
        Entropy => Input("entropy", HasGradEntropy) with { Values = OperandValues.Positive },
        GradLoss => Forward.Loss.Loss("gradLoss", OperandRole.Input),
        GradLse => Input("gradLse", HasGradLse),
        GradEntropy => Input("gradEntropy", HasGradEntropy),
        Order => HasOrder
            ? new("order", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Forward.VocabSize), "vocabSize",
                Values: OperandValues.DistinctBelow(Forward.VocabSize))
            : Operand.Absent("order"),
        GradHidden => Gradient(CrossEntropyProblem.Hidden, "gradHidden") is var gradient && Forward.IsShard
            ? gradient with { Type = DataType.Float32 } : gradient,
        GradClassifier => Gradient(CrossEntropyProblem.Classifier, "gradClassifier"),
        GradBias => Gradient(CrossEntropyProblem.Bias, "gradBias"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <summary>The logits again, and the two products with them.</summary>
    public double Flops => 3 * Forward.Flops;

    /// <inheritdoc/>
    public double Bytes => 2 * Forward.Bytes;

    /// <inheritdoc/>
    public string? FindError() =>
        Forward.FindError() ?? (FilterEpsilon is >= 0 and < 1 ? null : $"filterEpsilon must be at least 0 and below 1 but is {FilterEpsilon}.");

    /// <inheritdoc/>
    public static string? FindContentError(in CrossEntropyBackwardProblem problem, ReadOnlySpan<RawView> operands) =>
        problem.Forward.Loss.FindTargetError(operands[CrossEntropyProblem.Targets]) ?? problem.FindOrderError(operands[Order]);

    /// <inheritdoc/>
    public static CrossEntropyBackwardProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new CrossEntropyBackwardProblem(CrossEntropyProblem.Read(text))
        {
            HasGradLse = text.TakeFlag("gradlse"),
            HasGradEntropy = text.TakeFlag("gradentropy"),
            FilterEpsilon = text.TakeNumber("filter", 0),
            IsHiddenFull = text.TakeFlag("fullhidden"),
            IsClassifierFull = text.TakeFlag("fullclassifier"),
            HasOrder = text.TakeFlag("order"),
        };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        Forward.ToText(), ProblemText.Flag("gradlse", HasGradLse), ProblemText.Flag("gradentropy", HasGradEntropy),
        ProblemText.Word("filter", FilterEpsilon, 0f), ProblemText.Flag("fullhidden", IsHiddenFull),
        ProblemText.Flag("fullclassifier", IsClassifierFull), ProblemText.Flag("order", HasOrder));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    // About the largest of all logits of rows of unit variance, so that random problems have probabilities of at most about 1: the
    // error of a logit far above the log-sum-exp would drown all others.
    private long LikelyLse
    {
        get
        {
            double spread = Math.Sqrt(Forward.HiddenSize) / Forward.Temperature * Math.Sqrt(2 * Math.Log((double)Forward.Loss.Positions * Forward.Loss.Classes + 1));
            return (long)Math.Ceiling(Forward.LogitSoftCap > 0 ? Math.Min(spread, Forward.LogitSoftCap) : spread);
        }
    }

    private string? FindOrderError(in RawView order)
    {
        if (!order.IsPresent)
            return null;
        var isSeen = new bool[Forward.VocabSize];
        for (int i = 0; i < Forward.VocabSize; i++)
        {
            int v = order.ReadInt32(i);
            if ((uint)v >= (uint)Forward.VocabSize || isSeen[v])
                return $"order must hold 0 to {Forward.VocabSize - 1}, each once, but order[{i}] is {v}.";
            isSeen[v] = true;
        }
        return null;
    }

    private Operand Input(string name, bool isPresent) => isPresent
        ? Forward.Loss.Position(name) with { Role = OperandRole.Input, IsOptional = false }
        : Operand.Absent(name);

    private Operand Gradient(int index, string name) => Forward.GetOperand(index) is { Role: not OperandRole.Absent } operand
        ? operand with { Name = name, Role = OperandRole.Output, IsOptional = true, Values = default }
        : Operand.Absent(name);
}
