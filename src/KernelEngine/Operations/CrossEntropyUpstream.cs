namespace KernelEngine;

/// <summary>The gradients of what a forward pass of cross-entropy wrote; one left out is 1 for the loss and 0 for the others.</summary>
public readonly record struct CrossEntropyUpstream
{
    /// <summary>f32, shaped as the loss.</summary>
    public TensorView Loss { get; init; }

    /// <summary>f32 [positions]: gradient of the log-sum-exp.</summary>
    public TensorView Lse { get; init; }

    /// <summary>f32 [positions]: gradient of the entropies; <see cref="Entropy"/> must be given with it.</summary>
    public TensorView GradEntropy { get; init; }

    /// <summary>f32 [positions]: the entropies themselves, as the forward pass wrote them.</summary>
    public TensorView Entropy { get; init; }
}
