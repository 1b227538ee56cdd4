namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Sizes of <see cref="FlashGradKeyValueMma"/> and <see cref="FlashGradQueryMma"/> for one head dimension.</summary>
internal interface IBackwardMmaTile
{
    /// <summary>Elements of a row of queries, keys, values and their gradients: a multiple of 16.</summary>
    static abstract int HeadDim { get; }

    /// <summary>Tiles of 16 rows that a warp owns.</summary>
    static abstract int RowTiles { get; }

    /// <summary>Threads that copy one row: its pieces of 16 bytes, rounded up to a power of two.</summary>
    static abstract int ThreadsOfRow { get; }

    /// <summary>Query rows that a step of <see cref="FlashGradKeyValueMma"/> takes: a multiple of 16.</summary>
    static abstract int BlockM { get; }

    /// <summary>Keys that a step of <see cref="FlashGradQueryMma"/> takes: a multiple of 16.</summary>
    static abstract int BlockN { get; }
}
