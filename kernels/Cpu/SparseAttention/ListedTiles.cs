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
    private const int LongList = 2048;
    private const int GroupSize = ListedGroups<int>.Size;

    /// <summary>A tile has 2^KeyBits keys.</summary>
    public readonly int KeyBits;

    /// <summary>Keys that are sorted at a time, a multiple of a tile's.</summary>
    public readonly long SegmentKeys;

    /// <summary>The most groups of a segment, and of a tile.</summary>
    public readonly long MaxGroups, MaxTileGroups;

    /// <summary>Bytes of the groups' keys.</summary>
    public readonly long ColumnBytes;

    /// <summary>Bytes of all that a block needs, a multiple of 64.</summary>
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
        SegmentKeys = problem.MaxCount <= LongList ? Math.Max(1, problem.KvLength) : LongList;
        SegmentKeys = (SegmentKeys + (1L << KeyBits) - 1 >> KeyBits) << KeyBits;
        // Lists rise, so that groups of a row begin sixteen keys apart.
        MaxGroups = checked(blockRows * Math.Min(groupsOfRow, Groups(SegmentKeys)));
        MaxTileGroups = checked(blockRows * Math.Min(groupsOfRow, Groups(1L << KeyBits)));
        ColumnBytes = checked(MaxGroups * GroupSize * problem.ColumnType.SizeInBytes());
        Bytes = checked(ColumnBytes + (MaxGroups + (SegmentKeys >> KeyBits) + 2) * sizeof(int) + 63) / 64 * 64;
    }

    private static long Groups(long keys) => (keys + GroupSize - 1) / GroupSize;
}
