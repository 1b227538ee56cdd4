namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Sizes of <see cref="FlashForwardMma"/> for one head dimension.</summary>
internal interface IMmaTile
{
    /// <summary>Elements of a row of queries, keys and values: a multiple of 16.</summary>
    static abstract int HeadDim { get; }

    /// <summary>Warps of a group.</summary>
    static abstract int Warps { get; }

    /// <summary>Tiles of 16 query rows that a warp owns.</summary>
    static abstract int RowTiles { get; }

    /// <summary>Keys of a block: a multiple of 16.</summary>
    static abstract int BlockN { get; }

    /// <summary>Threads that copy one row: its pieces of 16 bytes, rounded up to a power of two.</summary>
    static abstract int ThreadsOfRow { get; }

    /// <summary>Groups that share a multiprocessor: bounds a thread's registers.</summary>
    static abstract int GroupsPerMultiprocessor { get; }
}
