namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// How a group is laid out over its tile: <c>ThreadsX × ThreadsY</c> threads, each with 8 query rows, 4 keys of the score tile
/// and 8 columns of the output. Constants for the compiler.
/// </summary>
internal interface IFlashTile
{
    /// <summary>Threads along keys and value columns.</summary>
    static abstract int ThreadsX { get; }

    /// <summary>Threads along query rows.</summary>
    static abstract int ThreadsY { get; }
}
