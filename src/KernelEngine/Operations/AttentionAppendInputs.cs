namespace KernelEngine;

/// <summary>The optional tensors of <see cref="Attention.Append"/>.</summary>
public readonly record struct AttentionAppendInputs
{
    /// <summary>[batchSize, newLength, numHeads, headDim], the type of the new keys: queries of the same tokens, turned in place.</summary>
    public TensorView Query { get; init; }

    /// <summary>f32 [maxPosition, rotaryDim / 2], as <see cref="RotaryTables"/> makes it; without it nothing turns.</summary>
    public TensorView Cos { get; init; }

    /// <summary>f32 [maxPosition, rotaryDim / 2].</summary>
    public TensorView Sin { get; init; }

    /// <summary>i32 [batchSize, numKvHeads]: the keys already in each head's cache, where heads hold different numbers of keys.</summary>
    public TensorView KvLengths { get; init; }

    /// <summary>
    /// i32 [batchSize, numKvHeads, pages]: which page of the pool holds each run of keys. The caches are then pools,
    /// [poolPages, pageSize, numKvHeads or 1, headDim].
    /// </summary>
    public TensorView PageTable { get; init; }

    /// <summary>f32 [batchSize, numKvHeads, capacity], or in pages [poolPages, headsOfAPage, pageSize], written: factors on i8 keys.</summary>
    public TensorView KeyScale { get; init; }

    /// <summary>f32, shaped as the key scales, written: factors on i8 values.</summary>
    public TensorView ValueScale { get; init; }
}
