using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// Moves the kept rows of each cell together in place: row j becomes the old row kept[j] ≥ j. One group of 128 threads has a run of
/// columns of one cell and goes through its rows from the lowest up, some at a time: all threads read, a barrier, all threads write.
/// What a step reads, rows not below its first, no earlier step has written. Elements are words of 4 bytes, or bytes where rows do
/// not begin on words.
/// </summary>
internal static class MoveRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Most columns of a group: 128 bytes where they are words.</summary>
    public const int MaxColumns = 32;

    private const int RowsOfAThread = 4;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public ArrayView<T> Data;                  // [poolPages, pageSize, words]
        public MatrixView<int> PageTable, Kept;    // [cells, pages], [cells, slots]
        public ArrayView<int> KeptCounts;          // [cells]
        public long PageStride, RowStride;         // in elements
        public int Words, PageSize;
        public int Columns;                        // of a group: a power of two, at most MaxColumns
        public int GroupsOfCell;                   // ⌈words / columns⌉
    }

    /// <summary>The kernel; cells · groupsOfCell groups.</summary>
    public static void MoveKeptRows<T>(Parameters<T> p) where T : unmanaged
    {
        int cell = Grid.IdxX / p.GroupsOfCell, column = Grid.IdxX % p.GroupsOfCell * p.Columns + Group.IdxX % p.Columns;
        int step = Threads / p.Columns;
        int count = p.KeptCounts[cell];
        // Threads beyond the last column meet the others at the barriers and do nothing else.
        int end = column < p.Words ? count : 0;
        for (int first = 0; first < count; first += RowsOfAThread * step)
        {
            int j0 = first + Group.IdxX / p.Columns, j1 = j0 + step, j2 = j1 + step, j3 = j2 + step;
            T v0 = default, v1 = default, v2 = default, v3 = default;
            if (j0 < end)
                v0 = p.Data[Offset(ref p, cell, p.Kept.Data[cell * p.Kept.RowStride + j0]) + column];
            if (j1 < end)
                v1 = p.Data[Offset(ref p, cell, p.Kept.Data[cell * p.Kept.RowStride + j1]) + column];
            if (j2 < end)
                v2 = p.Data[Offset(ref p, cell, p.Kept.Data[cell * p.Kept.RowStride + j2]) + column];
            if (j3 < end)
                v3 = p.Data[Offset(ref p, cell, p.Kept.Data[cell * p.Kept.RowStride + j3]) + column];
            Group.Barrier();
            if (j0 < end)
                p.Data[Offset(ref p, cell, j0) + column] = v0;
            if (j1 < end)
                p.Data[Offset(ref p, cell, j1) + column] = v1;
            if (j2 < end)
                p.Data[Offset(ref p, cell, j2) + column] = v2;
            if (j3 < end)
                p.Data[Offset(ref p, cell, j3) + column] = v3;
        }
    }

    private static long Offset<T>(ref Parameters<T> p, int cell, int slot) where T : unmanaged =>
        p.PageTable.Data[cell * p.PageTable.RowStride + slot / p.PageSize] * p.PageStride + slot % p.PageSize * p.RowStride;
}
