using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.FeedForward;

/// <summary>The gradients of biases: sums of the rows at each block's places, or of all rows. Each thread has a column and adds its rows in order.</summary>
internal static class ColumnSums
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public ArrayView<int> Offsets;  // [blocks + 1]; where there is one block of all rows, not read
        public TypedTensor Rows;        // [rows, columns]
        public TypedTensor Target;      // [blocks · columns]
        public int HasBlocks, RowCount, Columns, ColumnGroups;
    }

    /// <summary>The kernel; one group for each 128 columns of each block.</summary>
    public static void FeedForwardColumnSums(Parameters p)
    {
        int block = Grid.IdxX / p.ColumnGroups, column = Grid.IdxX % p.ColumnGroups * Threads + Group.IdxX;
        int first = p.HasBlocks != 0 ? p.Offsets[block] : 0, last = p.HasBlocks != 0 ? p.Offsets[block + 1] : p.RowCount;
        if (column < p.Columns)
        {
            float sum = 0f;
            for (int row = first; row < last; row++)
                sum += p.Rows.LoadOne(row * p.Rows.TokenStride + column);
            p.Target.StoreOne((long)block * p.Columns + column, sum);
        }
    }
}
