namespace KernelEngine.Models;

/// <summary>
/// The weights of one block, on a device; the <see cref="ModelWeights"/> owns them. Matrices are [outputSize, inputSize].
/// </summary>
public sealed class LayerWeights
{
    /// <summary>f32 [hiddenSize], or null in a block without norms.</summary>
    public Tensor? AttentionNorm { get; internal init; }

    /// <summary>
    /// Query, key and value projection, one below the other: [numHeads · headDim + numKvHeads · (headDim + valueHeadDim), hiddenSize].
    /// </summary>
    public required Tensor QueryKeyValue { get; init; }

    /// <summary>[hiddenSize, numHeads · valueHeadDim]</summary>
    public required Tensor AttentionOutput { get; init; }

    /// <summary>f32 [hiddenSize], or null in a block without norms or feed-forward network.</summary>
    public Tensor? FeedForwardNorm { get; internal init; }

    /// <summary>
    /// Gate and up projection, one below the other: [2 · feedForwardSize, hiddenSize], or null in a block without feed-forward
    /// network.
    /// </summary>
    public Tensor? GateUp { get; internal init; }

    /// <summary>f32 [subVectors, 16, subVectorSize], or null in a block without codebook.</summary>
    public Tensor? Codebook { get; internal init; }

    /// <summary>f32 [feedForwardBlocks, hiddenSize], or null in a block without router.</summary>
    public Tensor? Router { get; internal init; }

    /// <summary>f32 [feedForwardBlocks], or null in a block without router.</summary>
    public Tensor? RouterBias { get; internal init; }

    /// <summary>[hiddenSize, feedForwardSize], or null in a block without feed-forward network.</summary>
    public Tensor? Down { get; internal init; }
}
