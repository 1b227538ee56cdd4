using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The lists of a block of query rows, sorted by tiles of keys: cut into groups of sixteen, of which a tile takes those that begin in it,
/// row by row. Each list is read from one end to the other, once; so the products that follow go from group to group without a branch that
/// depends on the lists, on rows of keys that stay in the first-level cache. A segment of the keys is sorted at a time, so that the memory
/// does not grow with the lists.
/// </summary>
internal unsafe ref struct ListedBlock<TIndex> where TIndex : unmanaged
{
    private readonly ListedTiles _tiles;
    private readonly TIndex* _columns;
    private readonly int* _rows, _counts;
    private readonly ListedRow<TIndex>* _lists;
    private readonly int _count;

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
        _counts = _rows + tiles.SegmentTiles * tiles.TileGroups;
        _lists = lists;
        _count = count;
    }

    /// <summary>How many tiles a segment has.</summary>
    public readonly int TileCount => _tiles.SegmentTiles;

    /// <summary>The groups that begin in a tile of the segment.</summary>
    public readonly ListedGroups<TIndex> this[int tile]
    {
        get
        {
            long first = tile * _tiles.TileGroups;
            return new ListedGroups<TIndex>(_rows + first, _columns + first * ListedGroups<TIndex>.Size, _counts[tile]);
        }
    }

    /// <summary>Sorts the next segment with keys of some row; false when all lists are worked off.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public readonly bool TakeSegment()
    {
        const int Size = ListedGroups<TIndex>.Size;
        long firstKey = long.MaxValue;
        for (int r = 0; r < _count; r++)
        {
            if (_lists[r].Position < _lists[r].Count)
                firstKey = Math.Min(firstKey, _lists[r][_lists[r].Position]);
        }
        if (firstKey == long.MaxValue)
            return false;
        int shift = _tiles.KeyBits;
        long firstTile = firstKey >> shift, keyEnd = (firstTile + _tiles.SegmentTiles) << shift, tileGroups = _tiles.TileGroups;
        new Span<int>(_counts, _tiles.SegmentTiles).Clear();
        for (int r = 0; r < _count; r++)
        {
            ListedRow<TIndex> list = _lists[r];
            int p = list.Position, whole = list.Count - Size, info = r | Size << ListedGroups<TIndex>.RowBits;
            for (; p <= whole && list[p] < keyEnd; p += Size)
            {
                long tile = (list[p] >> shift) - firstTile, at = tile * tileGroups + _counts[tile]++;
                ColumnLists.Prefetch(list.Columns, p);
                _rows[at] = info;
                Unsafe.CopyBlockUnaligned(_columns + at * Size, list.Columns + p, (uint)(Size * sizeof(TIndex)));
            }
            if (p > whole && p < list.Count && list[p] < keyEnd)
            {
                long tile = (list[p] >> shift) - firstTile, at = tile * tileGroups + _counts[tile]++;
                _rows[at] = r | (list.Count - p) << ListedGroups<TIndex>.RowBits;
                for (int i = 0; i < Size; i++)
                    _columns[at * Size + i] = list.Columns[Math.Min(p + i, list.Count - 1)];
                p = list.Count;
            }
            _lists[r].Position = p;
        }
        return true;
    }
}
