namespace KernelEngine;

/// <summary>Where the gradients of attention go. Those left out are not computed.</summary>
public readonly record struct AttentionGradients
{
    /// <summary>Shaped and stored as the query, written.</summary>
    public TensorView Query { get; init; }

    /// <summary>Shaped and stored as the key, written: the sum over the query heads of a group.</summary>
    public TensorView Key { get; init; }

    /// <summary>Shaped and stored as the value, written: the sum over the query heads of a group.</summary>
    public TensorView Value { get; init; }

    /// <summary>Shaped and stored as the bias, written: summed over the dimensions along which the bias repeats.</summary>
    public TensorView Bias { get; init; }

    /// <summary>f32 [numHeads], written.</summary>
    public TensorView SinkLogits { get; init; }

    /// <summary>f32 [sequences, numHeads], written.</summary>
    public TensorView AlibiSlopes { get; init; }
}
