namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// What a CUtensorMap of tiled mode says: a tensor of up to five dimensions in global memory, and the box one copy moves. Dimension 0 is
/// the innermost. In shared memory the box is dense, its 16-byte chunks permuted within every 128 bytes by the swizzle.
/// </summary>
internal sealed class TensorMap
{
    public const int Bytes = 128;

    /// <summary>What the address of a map is a multiple of.</summary>
    public const int Alignment = 64;

    private readonly ulong[] _dims;
    private readonly ulong[] _strides;
    private readonly uint[] _box;

    /// <summary>Checks what the driver checks when it encodes a map.</summary>
    public TensorMap(
        ulong address, int elementBytes, ReadOnlySpan<ulong> dims, ReadOnlySpan<ulong> byteStrides, ReadOnlySpan<uint> box, int swizzleBytes)
    {
        if (dims.Length is < 1 or > 5 || byteStrides.Length != dims.Length - 1 || box.Length != dims.Length)
            throw new ArgumentException($"{dims.Length} dims, {byteStrides.Length} strides and {box.Length} box sizes do not fit", nameof(dims));
        if (elementBytes is not (1 or 2 or 4 or 8))
            throw new ArgumentOutOfRangeException(nameof(elementBytes), $"elements of {elementBytes} bytes");
        if (address % 16 != 0)
            throw new ArgumentException($"the address 0x{address:X} is not a multiple of 16", nameof(address));
        foreach (ulong stride in byteStrides)
        {
            if (stride % 16 != 0 || stride >= 1UL << 40)
                throw new ArgumentException($"a stride of {stride} bytes is not a multiple of 16 below 2^40", nameof(byteStrides));
        }
        foreach (ulong dim in dims)
        {
            if (dim is 0 or > 1UL << 32)
                throw new ArgumentException($"a dimension of {dim}", nameof(dims));
        }
        foreach (uint side in box)
        {
            if (side is 0 or > 256)
                throw new ArgumentException($"a side of {side} elements is not from 1 to 256", nameof(box));
        }
        long rowBytes = (long)box[0] * elementBytes;
        if (rowBytes % 16 != 0)
            throw new ArgumentException($"a row of the box has {rowBytes} bytes, not a multiple of 16", nameof(box));
        if (swizzleBytes is not (0 or 32 or 64 or 128))
            throw new ArgumentOutOfRangeException(nameof(swizzleBytes), $"a swizzle of {swizzleBytes} bytes");
        if (swizzleBytes != 0 && rowBytes != swizzleBytes)
            throw new NotSupportedException($"a row of the box has {rowBytes} bytes; the emulator needs as many as the swizzle has, {swizzleBytes}");
        (Address, ElementBytes, SwizzleBytes) = (address, elementBytes, swizzleBytes);
        (_dims, _strides, _box) = (dims.ToArray(), byteStrides.ToArray(), box.ToArray());
    }

    public ulong Address { get; }

    public int ElementBytes { get; }

    public int SwizzleBytes { get; }

    public int Rank => _dims.Length;

    public int RowBytes => (int)_box[0] * ElementBytes;

    /// <summary>Rows of the box: the product of all sides but the innermost.</summary>
    public int Rows => (int)_box.Skip(1).Aggregate(1U, (product, side) => product * side);

    public int BoxBytes => RowBytes * Rows;

    /// <summary>
    /// The elements of a row of the box that lie in the tensor: where the first is in the row and in global memory, and how many there are.
    /// </summary>
    public (int First, int Count, ulong Address) Row(int row, ReadOnlySpan<int> coordinates)
    {
        ulong address = Address;
        int rest = row;
        for (int d = 1; d < Rank; d++)
        {
            long at = coordinates[d] + rest % (int)_box[d];
            rest /= (int)_box[d];
            if (at < 0 || at >= (long)_dims[d])
                return (0, 0, 0);
            address += (ulong)at * _strides[d - 1];
        }
        long first = Math.Max(0, -(long)coordinates[0]);
        long end = Math.Min(_box[0], (long)_dims[0] - coordinates[0]);
        return end <= first ? (0, 0, 0) : ((int)first, (int)(end - first), address + (ulong)((coordinates[0] + first) * ElementBytes));
    }

    /// <summary>Where a 16-byte chunk goes that would lie at an address without the swizzle.</summary>
    public ulong Place(ulong address) => Swizzle.Apply(address, SwizzleBytes);
}
