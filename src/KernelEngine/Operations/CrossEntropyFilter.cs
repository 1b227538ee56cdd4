namespace KernelEngine;

/// <summary>
/// Gradient filtering (Wijmans et al. 2024, arXiv:2411.09009, section 4.3): tiles of logits in which every |p − [v = y]| is below
/// ε add nothing to the gradients. Rare classes then learn less; the default of the engine is not to filter.
/// </summary>
/// <param name="Epsilon">ε, above 0 and below 1.</param>
public sealed record CrossEntropyFilter(float Epsilon)
{
    /// <summary>Whether the gradient of the hidden rows is filtered.</summary>
    public bool FiltersHidden { get; init; } = true;

    /// <summary>Whether the gradient of the classifier is filtered.</summary>
    public bool FiltersClassifier { get; init; } = true;

    /// <summary>The paper's ε: 1/32 of the storage type's spacing at 1, below which a probability is lost when it is rounded next to 1.</summary>
    /// <param name="type">Storage of hidden rows and classifier.</param>
    /// <exception cref="ArgumentOutOfRangeException">Not f32, f16 or bf16.</exception>
    public static CrossEntropyFilter For(DataType type) => new(type switch
    {
        DataType.Float32 => MathF.ScaleB(1, -28),
        DataType.Float16 => MathF.ScaleB(1, -15),
        DataType.BFloat16 => MathF.ScaleB(1, -12),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "The type must be f32, f16 or bf16."),
    });
}
