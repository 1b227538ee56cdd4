namespace KernelEngine.Models;

/// <summary>
/// The weights of one block, on a device; the <see cref="ModelWeights"/> owns them. Matrices are [outputSize, inputSize].
/// </summary>
public sealed class LayerWeights
{
    /// <summary>f32 [hiddenSize], or null in a block without norms.</summary>
    public Tensor? AttentionNorm { get; internal init; }

    /// <summary>[numHeads · headDim, hiddenSize]</summary>
    public required Tensor Query { get; init; }

    /// <summary>[numKvHeads · headDim, hiddenSize]</summary>
    public required Tensor Key { get; init; }

    /// <summary>[numKvHeads · valueHeadDim, hiddenSize]</summary>
    public required Tensor Value { get; init; }

    /// <summary>[hiddenSize, numHeads · valueHeadDim]</summary>
    public required Tensor AttentionOutput { get; init; }

    /// <summary>f32 [hiddenSize], or null in a block without norms or feed-forward network.</summary>
    public Tensor? FeedForwardNorm { get; internal init; }

    /// <summary>[feedForwardSize, hiddenSize], or null in a block without feed-forward network.</summary>
    public Tensor? Gate { get; internal init; }

    /// <summary>[feedForwardSize, hiddenSize], or null in a block without feed-forward network.</summary>
    public Tensor? Up { get; internal init; }

    /// <summary>[hiddenSize, feedForwardSize], or null in a block without feed-forward network.</summary>
    public Tensor? Down { get; internal init; }
}
