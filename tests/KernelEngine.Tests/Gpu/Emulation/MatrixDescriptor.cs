namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// The 64 bits that tell a warpgroup product where a matrix of 16-bit elements lies in shared memory. Bits 0 to 13 hold the start address,
/// 16 to 29 the leading byte offset, 32 to 45 the stride byte offset, each divided by 16; 49 to 51 the base offset; 62 and 63 the swizzle
/// (0 none, 1 128 bytes, 2 64 bytes, 3 32 bytes). A chunk is 8 elements, 16 bytes. With W chunks in the swizzle's width (1 without), chunk
/// c of line l lies at
/// <code>
/// along K, no swizzle:    (l mod 8) · 16      + (l / 8) · stride + c · leading             lines are rows of A or columns of B
/// along K, swizzled:      (l mod 8) · 16 W    + (l / 8) · stride + c · 16
/// along M or N, none:     (l mod 8) · 16      + (l / 8) · leading + c · stride             lines are steps of K
/// along M or N, swizzled: (l mod 8) · 16 W    + (l / 8) · stride + (c mod W) · 16 + (c / W) · leading
/// </code>
/// behind the start, and then moves by the swizzle of the whole address.
/// </summary>
internal readonly struct MatrixDescriptor(ulong bits, bool isAlongK)
{
    private const int ChunkBytes = SharedMemory.GranuleBytes;
    private const ulong Reserved = 0x3FF1_C000_C000_C000;

    private readonly ulong _start = (bits & 0x3FFF) << 4;
    private readonly ulong _leading = (bits >> 16 & 0x3FFF) << 4;
    private readonly ulong _stride = (bits >> 32 & 0x3FFF) << 4;
    private readonly ulong _baseOffset = bits >> 49 & 7;
    private readonly int _swizzleBytes = (bits >> 62) switch { 1 => 128, 2 => 64, 3 => 32, _ => 0 };

    public ulong Bits { get; } = bits;

    /// <summary>True when neighbours in memory are neighbours in K.</summary>
    public bool IsAlongK { get; } = isAlongK;

    /// <summary>What is wrong with it, or null.</summary>
    public string? Problem()
    {
        if ((Bits & Reserved) != 0)
            return $"the descriptor 0x{Bits:X16} has reserved bits set";
        ulong lines = Swizzle.LineMask(_swizzleBytes);
        if ((_start >> 7 & lines) != (_baseOffset & lines) || _swizzleBytes == 0 && _baseOffset != 0)
            return $"the swizzle's pattern starts at 0x{_start:X}, which the base offset {_baseOffset} does not say";
        return null;
    }

    /// <summary>The address of a chunk.</summary>
    public ulong Chunk(int line, int chunk)
    {
        ulong width = (ulong)Math.Max(ChunkBytes, _swizzleBytes);
        ulong chunks = width / ChunkBytes;
        (ulong l, ulong c) = ((ulong)line, (ulong)chunk);
        ulong offset = l % 8 * width;
        if (IsAlongK)
            offset += l / 8 * _stride + c * (_swizzleBytes == 0 ? _leading : ChunkBytes);
        else if (_swizzleBytes == 0)
            offset += l / 8 * _leading + c * _stride;
        else
            offset += l / 8 * _stride + c % chunks * ChunkBytes + c / chunks * _leading;
        return Swizzle.Apply(_start + offset, _swizzleBytes, _baseOffset);
    }
}
