namespace KernelEngine;

/// <summary>The weights of a feed-forward layer, or their gradients: all of one storage type, as a checkpoint of a dense layer has them.</summary>
public readonly record struct FeedForwardWeights
{
    /// <summary>[innerSize, hiddenSize]: block j has the rows j · innerSize / blocks and after.</summary>
    public TensorView Up { get; init; }

    /// <summary>[innerSize, hiddenSize]: the weight of SwiGLU's gate, only with <see cref="FeedForwardActivation.SwiGlu"/>.</summary>
    public TensorView Gate { get; init; }

    /// <summary>[hiddenSize, innerSize]: block j has the columns j · innerSize / blocks and after.</summary>
    public TensorView Down { get; init; }

    /// <summary>Optional [innerSize]; not with SwiGLU.</summary>
    public TensorView UpBias { get; init; }

    /// <summary>Optional [hiddenSize].</summary>
    public TensorView DownBias { get; init; }
}
