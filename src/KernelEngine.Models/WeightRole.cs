namespace KernelEngine.Models;

/// <summary>What a weight tensor is for. Matrices are stored [outputSize, inputSize].</summary>
public enum WeightRole
{
    /// <summary>[vocabSize, hiddenSize]: a row a token.</summary>
    Embedding,

    /// <summary>[hiddenSize]: scale of the norm before attention.</summary>
    AttentionNorm,

    /// <summary>[numHeads · headDim, hiddenSize]</summary>
    Query,

    /// <summary>[numKvHeads · headDim, hiddenSize]</summary>
    Key,

    /// <summary>[numKvHeads · valueHeadDim, hiddenSize]</summary>
    Value,

    /// <summary>[hiddenSize, numHeads · valueHeadDim]</summary>
    AttentionOutput,

    /// <summary>[hiddenSize]: scale of the norm before the feed-forward network.</summary>
    FeedForwardNorm,

    /// <summary>[feedForwardSize, hiddenSize]: goes through the activation.</summary>
    Gate,

    /// <summary>[feedForwardSize, hiddenSize]: multiplies the gate.</summary>
    Up,

    /// <summary>[hiddenSize, feedForwardSize]</summary>
    Down,

    /// <summary>[hiddenSize]: scale of the norm before the head.</summary>
    FinalNorm,

    /// <summary>[vocabSize, hiddenSize]: a row the direction of one token's logit.</summary>
    Head,

    /// <summary>[subVectors, 16, subVectorSize]: the codewords of queries and keys.</summary>
    Codebook,

    /// <summary>[feedForwardBlocks, hiddenSize]: a row the direction of one block's gate.</summary>
    Router,

    /// <summary>[feedForwardBlocks]</summary>
    RouterBias,
}
