namespace KernelEngine;

/// <summary>Where the gradients of a feed-forward layer go, each written. Those left out are not computed: a frozen layer has only <see cref="Hidden"/>.</summary>
public readonly record struct FeedForwardGradients
{
    /// <summary>Shaped and stored as the hidden rows.</summary>
    public TensorView Hidden { get; init; }

    /// <summary>Shaped and stored as the weights.</summary>
    public FeedForwardWeights Weights { get; init; }

    /// <summary>f32 [tokens, blocks]: what <see cref="FeedForward.RouteBackward"/> takes; 0 for blocks that a token does not use.</summary>
    public TensorView Gates { get; init; }
}
