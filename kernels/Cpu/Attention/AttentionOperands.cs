namespace KernelEngine;

/// <summary>The optional inputs of attention that a problem has; each is one operand.</summary>
[Flags]
public enum AttentionOperands
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>f32 [batchSize, numHeads]: slope of a linear bias by distance, score −= slope · |i + offset − j| (<c>alibi</c>; arXiv:2108.12409).</summary>
    AlibiSlopes = 1,

    /// <summary>f32 [numHeads]: a learned logit that takes part in the softmax and has no value (<c>sink</c>).</summary>
    SinkLogits = 2,

    /// <summary>i32 [numHeads, 2]: windowLeft (−1: unbounded) and sinkCount of each query head (<c>headwindows</c>).</summary>
    HeadWindows = 4,

    /// <summary>i32 [batchSize, numKvHeads]: the keys in use, at most kvLength (<c>lengths</c>).</summary>
    KvLengths = 8,

    /// <summary>f32 [batchSize, numKvHeads, kvLength]: added to the scores of each stored key (<c>slotbias</c>).</summary>
    SlotBias = 16,

    /// <summary>f32 [numHeads]: factor on each head's output; 0 switches a head off (<c>gain</c>).</summary>
    HeadGain = 32,

    /// <summary>f32 [numHeads, valueHeadDim]: added to each head's output; with a gain of 0, the mean that replaces it (<c>offset</c>).</summary>
    HeadOffset = 64,
}
