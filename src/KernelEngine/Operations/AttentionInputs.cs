namespace KernelEngine;

/// <summary>The optional tensors of attention; those left out have their default.</summary>
public readonly record struct AttentionInputs
{
    /// <summary>f32 [sequences, numHeads]: ALiBi slopes (Press et al. 2021, arXiv:2108.12409).</summary>
    public TensorView AlibiSlopes { get; init; }

    /// <summary>f32, f16 or bf16 [1 or batchSize, 1 or numHeads, 1 or queryLength, 1 or kvLength]: added to the scores.</summary>
    public TensorView Bias { get; init; }

    /// <summary>Boolean, shaped as the bias: false hides a key from a row.</summary>
    public TensorView Mask { get; init; }

    /// <summary>Boolean [batchSize, numHeads, ⌈queryLength / block⌉, ⌈kvLength / block⌉]: false hides a block of keys from a block of rows.</summary>
    public TensorView BlockMask { get; init; }

    /// <summary>f32 [numHeads]: a learned logit of each head that takes part in the softmax and has no value.</summary>
    public TensorView SinkLogits { get; init; }

    /// <summary>i32 [numHeads, 2]: the left window (−1: unbounded) and the sinks of each head, in place of the options'.</summary>
    public TensorView HeadWindows { get; init; }

    /// <summary>i32 [sequences + 1]: where each of several sequences laid end to end begins among the query rows; ends with queryLength.</summary>
    public TensorView QueryOffsets { get; init; }

    /// <summary>i32 [sequences + 1]: where each begins among the keys; ends with kvLength.</summary>
    public TensorView KvOffsets { get; init; }

    /// <summary>i32 [batchSize, numKvHeads]: the keys in use of each head's cache.</summary>
    public TensorView KvLengths { get; init; }

    /// <summary>
    /// i32 [batchSize, numKvHeads, pages]: which page of the pool holds each run of keys. Key and value are then pools,
    /// [poolPages, pageSize, numKvHeads or 1, headDim].
    /// </summary>
    public TensorView PageTable { get; init; }

    /// <summary>f32 [batchSize, numKvHeads, kvLength]: added to the scores of each stored key.</summary>
    public TensorView SlotBias { get; init; }

    /// <summary>f32 [batchSize, numKvHeads, kvLength], or [poolPages, headsOfAPage, pageSize]: factors on i8 keys.</summary>
    public TensorView KeyScale { get; init; }

    /// <summary>f32, shaped as the key's: factors on i8 values.</summary>
    public TensorView ValueScale { get; init; }

    /// <summary>f32 [numHeads]: factor on each head's output.</summary>
    public TensorView HeadGain { get; init; }

    /// <summary>f32 [numHeads, valueHeadDim]: added to each head's output.</summary>
    public TensorView HeadOffset { get; init; }
}
