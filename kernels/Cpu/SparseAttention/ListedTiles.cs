using System.Numerics;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// How the lists of a block of query rows are cut (<see cref="ListedBlock{TIndex}"/>). A tile's rows of keys take a third of the first-level
/// cache: its groups reach beyond it, and what belongs to the query rows passes through. Where lists are thin, or rows few, tiles are larger,
/// so that there are not more tiles than groups.
/// </summary>
internal readonly struct ListedTiles
{
    private const int TileBytes = 16 << 10;
    private const int GroupsOfTile = 8;
    private const int MaxSegmentKeys = 8192;
    private const int GroupSize = ListedGroups<int>.Size;

    /// <summary>A tile has 2^KeyBits keys.</summary>
    public readonly int KeyBits;

    /// <summary>Tiles of a segment, which is sorted at a time.</summary>
    public readonly int SegmentTiles;

    /// <summary>The most groups that begin in a tile, of all rows.</summary>
    public readonly long TileGroups;

    /// <summary>Bytes of the groups' keys.</summary>
    public readonly long ColumnBytes;

    /// <summary>Bytes of all that a block needs, a multiple of 64. Most are never touched where lists are thin.</summary>
    public readonly long Bytes;

    /// <summary>A plan for blocks of <paramref name="blockRows"/> rows.</summary>
    /// <param name="problem">What is computed.</param>
    /// <param name="width">Floats of a padded row.</param>
    /// <param name="blockRows">Rows whose lists are sorted together.</param>
    public ListedTiles(in SparseAttentionProblem problem, int width, int blockRows)
    {
        long groupsOfRow = Groups(problem.MaxCount), cached = Math.Max(GroupSize, TileBytes / (sizeof(float) * width));
        long thin = (long)problem.KvLength * GroupsOfTile / Math.Max(1, blockRows * groupsOfRow);
        KeyBits = Math.Max(BitOperations.Log2((ulong)cached), thin > 1 ? BitOperations.Log2((ulong)thin - 1) + 1 : 0);
        long tiles = (problem.KvLength + (1L << KeyBits) - 1) >> KeyBits;
        SegmentTiles = (int)Math.Clamp(tiles, 1, Math.Max(1, MaxSegmentKeys >> KeyBits));
        // Lists rise, so that groups of a row begin sixteen keys apart. Two more, so that tiles do not meet in the same cache sets.
        TileGroups = checked(blockRows * Math.Min(groupsOfRow, Groups(1L << KeyBits)) + 2);
        ColumnBytes = checked(SegmentTiles * TileGroups * GroupSize * problem.ColumnType.SizeInBytes());
        Bytes = checked(ColumnBytes + SegmentTiles * (TileGroups + 1) * sizeof(int) + 63) / 64 * 64;
    }

    private static long Groups(long keys) => (keys + GroupSize - 1) / GroupSize;
}
