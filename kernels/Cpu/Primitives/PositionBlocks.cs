namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>A range of positions cut into blocks of whole tiles, of about the same size and as many for each thread.</summary>
/// <param name="rows">Positions of the range.</param>
/// <param name="mostRows">Positions of a block at the most: whole tiles.</param>
/// <param name="threads">Threads that share the blocks.</param>
internal readonly struct PositionBlocks(int rows, int mostRows, int threads)
{
    private const int TileRows = 6;

    /// <summary>How many there are; some may be empty.</summary>
    public int Count { get; } = (int)((rows + (long)mostRows * threads - 1) / ((long)mostRows * threads)) * threads;

    /// <summary>Where a block begins, and where the next one does.</summary>
    public (int First, int Last) this[int block] => (Begin(block), Begin(block + 1));

    private int Begin(int block) => (int)Math.Min(((long)rows + TileRows - 1) / TileRows * block / Count * TileRows, rows);
}
