namespace KernelEngine;

/// <summary>What varies between calls of cross-entropy besides the tensors. <see cref="CrossEntropyLoss"/> and <see cref="CrossEntropyProblem"/> say what each means.</summary>
public sealed record CrossEntropyOptions
{
    /// <summary>The mean loss, nothing else.</summary>
    public static CrossEntropyOptions Default { get; } = new();

    /// <summary>How losses are combined.</summary>
    public CrossEntropyReduction Reduction { get; init; }

    /// <summary>The label of positions that do not count.</summary>
    public int IgnoreIndex { get; init; } = CrossEntropyLoss.DefaultIgnoreIndex;

    /// <summary>Places between a hidden row and the label it is scored against: 1 for the next token.</summary>
    public int Shift { get; init; }

    /// <summary>Rows of a sequence where hidden rows come as [rows, hiddenSize]; 0 for one sequence.</summary>
    public int SequenceLength { get; init; }

    /// <summary>The part of the loss that is spread over all classes, at least 0 and below 1.</summary>
    public float LabelSmoothing { get; init; }

    /// <summary>Factor on the squared log-sum-exp that is added to the loss.</summary>
    public float ZLoss { get; init; }

    /// <summary>Logits x become softCap · tanh(x / softCap); 0 for no cap.</summary>
    public float LogitSoftCap { get; init; }

    /// <summary>What logits are divided by.</summary>
    public float Temperature { get; init; } = 1f;

    /// <summary>The mean of no positions is NaN, not 0.</summary>
    public bool IsEmptyNaN { get; init; }

    /// <summary>What gradients leave out; null for exact ones.</summary>
    public CrossEntropyFilter? Filter { get; init; }
}
