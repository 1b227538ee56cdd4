namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// How a group is laid out over a tile of <see cref="GeneralAttention"/>: <c>ThreadsX × ThreadsY</c> threads, each with 4 rows
/// and 4 keys of the scores. Constants for the compiler.
/// </summary>
internal interface IGeneralTile
{
    /// <summary>Threads along keys and value columns: 16 or 32.</summary>
    static abstract int ThreadsX { get; }

    /// <summary>Threads along rows, a power of two.</summary>
    static abstract int ThreadsY { get; }
}
