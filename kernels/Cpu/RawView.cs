using System.Runtime.CompilerServices;

namespace KernelEngine;

/// <summary>
/// What a CPU kernel sees of a tensor: an address, a data type and a layout. Bounds were proved by whoever made it; an
/// absent optional operand has no address.
/// </summary>
public readonly unsafe struct RawView(void* data, DataType type, TensorLayout layout)
{
    // Bytes between neighbours; 0 for missing dimensions, whose indices are 0. Kernels ask for the address of each row.
    private readonly long _step0 = Step(type, layout, 0);
    private readonly long _step1 = Step(type, layout, 1);
    private readonly long _step2 = Step(type, layout, 2);
    private readonly long _step3 = Step(type, layout, 3);

    /// <summary>Address of the first element, or null when the operand is absent.</summary>
    public readonly void* Data = data;

    /// <summary>How elements are stored.</summary>
    public readonly DataType Type = type;

    /// <summary>Shape and strides.</summary>
    public readonly TensorLayout Layout = layout;

    /// <summary>False for an optional operand that was not given.</summary>
    public bool IsPresent => Data != null;

    /// <summary>Address of the element at the given indices (one a dimension, leading dimensions first; missing ones are 0).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte* Address(long i0, long i1 = 0, long i2 = 0, long i3 = 0) =>
        (byte*)Data + i0 * _step0 + i1 * _step1 + i2 * _step2 + i3 * _step3;

    /// <summary>The integer at the given indices of an i32 tensor.</summary>
    public int ReadInt32(long i0, long i1 = 0, long i2 = 0) => *(int*)Address(i0, i1, i2);

    private static long Step(DataType type, TensorLayout layout, int dimension) =>
        dimension < layout.Rank ? layout.Stride(dimension) * type.SizeInBytes() : 0;
}
