namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Sizes of <see cref="FlashDecodeMma"/> for one head dimension.</summary>
internal interface IDecodeMmaTile
{
    /// <summary>Elements of a row of queries, keys and values: a multiple of 16.</summary>
    static abstract int HeadDim { get; }

    /// <summary>Bytes from one row to the next in shared memory: a power of two that holds the row, at least 128.</summary>
    static abstract int Pitch { get; }

    /// <summary>Warps of a group.</summary>
    static abstract int Warps { get; }

    /// <summary>Keys of a block: 16 or 32.</summary>
    static abstract int BlockN { get; }

    /// <summary>Blocks of keys and of values in a warp's ring.</summary>
    static abstract int Stages { get; }
}
