namespace KernelEngine;

/// <summary>
/// Where the results of cross-entropy go. Those left out are not computed. A position is a pair of a hidden row and a label;
/// there are as many as rows, less the shift for each sequence.
/// </summary>
public readonly record struct CrossEntropyOutputs
{
    /// <summary>f32 [1], or [positions] without reduction.</summary>
    public TensorView Loss { get; init; }

    /// <summary>The part of the loss that is z, shaped as the loss.</summary>
    public TensorView ZLoss { get; init; }

    /// <summary>f32 [positions]: log-sum-exp of the logits, natural log; the backward pass needs it.</summary>
    public TensorView Lse { get; init; }

    /// <summary>f32 [positions]: log-probability of the label.</summary>
    public TensorView LogProbability { get; init; }

    /// <summary>f32 [positions]: entropy in nats.</summary>
    public TensorView Entropy { get; init; }

    /// <summary>i32 [positions]: the most likely class, −1 where the label is ignored.</summary>
    public TensorView BestClass { get; init; }

    /// <summary>f32 [1]: share of positions whose most likely class is the label.</summary>
    public TensorView Accuracy { get; init; }

    /// <summary>f32 [vocabSize]: mean logit of each class.</summary>
    public TensorView MeanLogit { get; init; }
}
