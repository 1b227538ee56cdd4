namespace KernelEngine;

/// <summary>
/// What a CPU kernel sees of a tensor: an address, a data type and a layout. Bounds were proved by whoever made it; an
/// absent optional operand has no address.
/// </summary>
public readonly unsafe struct RawView(void* data, DataType type, TensorLayout layout)
{
    /// <summary>Address of the first element, or null when the operand is absent.</summary>
    public readonly void* Data = data;

    /// <summary>How elements are stored.</summary>
    public readonly DataType Type = type;

    /// <summary>Shape and strides.</summary>
    public readonly TensorLayout Layout = layout;

    /// <summary>False for an optional operand that was not given.</summary>
    public bool IsPresent => Data != null;

    /// <summary>Address of the element at the given indices (one a dimension, leading dimensions first; missing ones are 0).</summary>
    public byte* Address(long i0, long i1 = 0, long i2 = 0, long i3 = 0)
    {
        long offset = i0 * Layout.Stride(0);
        if (Layout.Rank > 1)
            offset += i1 * Layout.Stride(1);
        if (Layout.Rank > 2)
            offset += i2 * Layout.Stride(2);
        if (Layout.Rank > 3)
            offset += i3 * Layout.Stride(3);
        return (byte*)Data + offset * Type.SizeInBytes();
    }

    /// <summary>The integer at the given indices of an i32 tensor.</summary>
    public int ReadInt32(long i0, long i1 = 0, long i2 = 0) => *(int*)Address(i0, i1, i2);
}
