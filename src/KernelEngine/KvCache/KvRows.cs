namespace KernelEngine;

/// <summary>The slots of a layer as attention and scoring read them: floating-point rows in pages.</summary>
/// <param name="Key">[pages, pageSize, 1, headDim], turned as queries meet them</param>
/// <param name="Value">[pages, pageSize, 1, valueHeadDim]</param>
/// <param name="Inputs">The cells: lengths, page table, biases of slots, scales of i8.</param>
public readonly record struct KvRows(TensorView Key, TensorView Value, AttentionInputs Inputs)
{
    /// <summary>i32 [numKvHeads, pages]</summary>
    public TensorView PageTable => Inputs.PageTable.Join(0);

    /// <summary>i32 [numKvHeads]</summary>
    public TensorView Lengths => Inputs.KvLengths.Join(0);
}
