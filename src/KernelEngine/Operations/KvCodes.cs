namespace KernelEngine;

/// <summary>
/// Pools of pages of codes: <c>x = code · scale + minimum</c>. Codes have 2, 4 or 8 bits, the first of a byte in its lowest.
/// </summary>
public readonly record struct KvCodes
{
    /// <summary>i8 [codePages, pageSize, headDim · bits / 8]</summary>
    public required TensorView Key { get; init; }

    /// <summary>f16 [codePages, headDim]: one for each channel of a page</summary>
    public required TensorView KeyScale { get; init; }

    /// <summary>f16 [codePages, headDim]</summary>
    public required TensorView KeyMinimum { get; init; }

    /// <summary>i8 [codePages, pageSize, valueHeadDim · bits / 8]</summary>
    public required TensorView Value { get; init; }

    /// <summary>f16 [codePages, pageSize, ⌈valueHeadDim / 32⌉]: one for 32 channels of a row</summary>
    public required TensorView ValueScale { get; init; }

    /// <summary>f16 [codePages, pageSize, ⌈valueHeadDim / 32⌉]</summary>
    public required TensorView ValueMinimum { get; init; }

    // Bits of a code in rows of so many elements; what cannot be is found when the problem is checked.
    internal int BitsOf(long headDim, string name)
    {
        Shapes.RequireRank(Key, 3, name);
        return (int)Math.Min(8 * Key[2] / Math.Max(1, headDim), int.MaxValue);
    }
}
