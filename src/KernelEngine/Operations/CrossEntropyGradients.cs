namespace KernelEngine;

/// <summary>Where the gradients of cross-entropy go. Those left out are not computed.</summary>
public readonly record struct CrossEntropyGradients
{
    /// <summary>Shaped and stored as the hidden rows (of a shard always f32), written; 0 where the label is ignored.</summary>
    public TensorView Hidden { get; init; }

    /// <summary>Shaped and stored as the classifier, written.</summary>
    public TensorView Classifier { get; init; }

    /// <summary>Shaped and stored as the bias, written.</summary>
    public TensorView Bias { get; init; }
}
