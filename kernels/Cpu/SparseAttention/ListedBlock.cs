using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The lists of a block of query rows, sorted by tiles of keys: cut into groups of sixteen, of which a tile takes those that begin in it,
/// row by row. A counting sort, that reads each list from one end to the other; so the products that follow go from group to group without a
/// branch that depends on the lists, on rows of keys that stay in the first-level cache. Long lists are sorted a segment of the keys at a
/// time, so that the memory does not grow with them.
/// </summary>
internal unsafe ref struct ListedBlock<TIndex> where TIndex : unmanaged
{
    private readonly ListedTiles _tiles;
    private readonly TIndex* _columns;
    private readonly int* _rows, _ends;
    private readonly ListedRow<TIndex>* _lists;
    private readonly int _count;
    private int _tileCount;

    /// <summary>The lists of some rows, none of which is worked off.</summary>
    /// <param name="tiles">The plan.</param>
    /// <param name="workspace"><see cref="ListedTiles.Bytes"/>, aligned to vectors.</param>
    /// <param name="lists">The lists, whose positions move on.</param>
    /// <param name="count">How many.</param>
    public ListedBlock(in ListedTiles tiles, void* workspace, ListedRow<TIndex>* lists, int count)
    {
        _tiles = tiles;
        _columns = (TIndex*)workspace;
        _rows = (int*)((byte*)workspace + tiles.ColumnBytes);
        _ends = _rows + tiles.MaxGroups;
        _lists = lists;
        _count = count;
    }

    /// <summary>How many tiles the segment has.</summary>
    public readonly int TileCount => _tileCount;

    /// <summary>The groups that begin in a tile of the segment.</summary>
    public readonly ListedGroups<TIndex> this[int tile]
    {
        get
        {
            int first = _ends[tile], end = _ends[tile + 1];
            return new ListedGroups<TIndex>(_rows + first, _columns + (long)first * ListedGroups<TIndex>.Size, end - first);
        }
    }

    /// <summary>Sorts the next segment with keys of some row; false when all lists are worked off.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public bool TakeSegment()
    {
        long firstKey = long.MaxValue, lastKey = -1;
        for (int r = 0; r < _count; r++)
        {
            ListedRow<TIndex> list = _lists[r];
            if (list.Position < list.Count)
                (firstKey, lastKey) = (Math.Min(firstKey, list[list.Position]), Math.Max(lastKey, list[list.Count - 1]));
        }
        if (lastKey < 0)
            return false;
        int shift = _tiles.KeyBits;
        long firstTile = firstKey >> shift, keyEnd = Math.Min((firstTile << shift) + _tiles.SegmentKeys, lastKey + 1);
        _tileCount = (int)((keyEnd - 1 >> shift) - firstTile) + 1;
        // ends[t + 2] counts tile t, then says where it ends: what follows places the groups and moves ends[t + 1] from its begin to there.
        new Span<int>(_ends, _tileCount + 2).Clear();
        int* counts = _ends + 2 - firstTile, begins = _ends + 1 - firstTile;
        for (int r = 0; r < _count; r++)
        {
            ListedRow<TIndex> list = _lists[r];
            for (int p = list.Position; p < list.Count && list[p] < keyEnd; p += ListedGroups<TIndex>.Size)
                counts[list[p] >> shift]++;
        }
        for (int t = 1; t < _tileCount + 2; t++)
            _ends[t] += _ends[t - 1];
        for (int r = 0; r < _count; r++)
        {
            ListedRow<TIndex> list = _lists[r];
            int p = list.Position, info = r | ListedGroups<TIndex>.Size << ListedGroups<TIndex>.RowBits;
            for (; p <= list.Count - ListedGroups<TIndex>.Size && list[p] < keyEnd; p += ListedGroups<TIndex>.Size)
            {
                int at = begins[list[p] >> shift]++;
                _rows[at] = info;
                Unsafe.CopyBlockUnaligned(
                    _columns + (long)at * ListedGroups<TIndex>.Size, list.Columns + p, (uint)(ListedGroups<TIndex>.Size * sizeof(TIndex)));
            }
            if (p < list.Count && list[p] < keyEnd)
            {
                int at = begins[list[p] >> shift]++, size = Math.Min(ListedGroups<TIndex>.Size, list.Count - p);
                _rows[at] = r | size << ListedGroups<TIndex>.RowBits;
                TIndex* target = _columns + (long)at * ListedGroups<TIndex>.Size;
                for (int i = 0; i < ListedGroups<TIndex>.Size; i++)
                    target[i] = list.Columns[Math.Min(p + i, list.Count - 1)];
                p = list.Count;
            }
            _lists[r].Position = p;
        }
        return true;
    }
}
