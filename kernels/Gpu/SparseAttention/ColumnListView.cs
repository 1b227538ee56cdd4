using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.SparseAttention;

/// <summary>Lists of keys as kernels see them: columns [batchSize, indexHeads, rows, capacity] and counts [batchSize, indexHeads, rows].</summary>
internal struct ColumnListView
{
    public ArrayView<int> Columns, Counts;
    public ArrayView<ushort> NarrowColumns; // the same memory, where columns have 16 bits
    public int AreNarrow;
    public long BatchStride, HeadStride, RowStride;
    public long CountBatchStride, CountHeadStride, CountRowStride;

    /// <summary>Where a row's list begins in the columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly long Offset(int batch, int head, int row) => batch * BatchStride + head * HeadStride + row * RowStride;

    /// <summary>The key at a place of the columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int Column(long place)
    {
        int column;
        if (AreNarrow != 0)
            column = NarrowColumns[place];
        else
            column = Columns[place];
        return column;
    }

    /// <summary>Writes it; −1 is all bits set.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void SetColumn(long place, int column)
    {
        if (AreNarrow != 0)
            NarrowColumns[place] = (ushort)column;
        else
            Columns[place] = column;
    }

    /// <summary>Where a row's count is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly long CountOffset(int batch, int head, int row) =>
        batch * CountBatchStride + head * CountHeadStride + row * CountRowStride;

    /// <summary>How many keys a row lists.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int Count(int batch, int head, int row) => Counts[CountOffset(batch, head, row)];

    /// <summary>1 when a list has a key. It is ascending.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int Contains(long offset, int count, int key)
    {
        int low = 0, high = count;
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (Column(offset + middle) < key)
                low = middle + 1;
            else
                high = middle;
        }
        int found = 0;
        if (low < count)
            found = Column(offset + low) == key ? 1 : 0;
        return found;
    }
}
