using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.FeedForward;

/// <summary>
/// The gradient of the weights of each block, a sum over its places: <c>target_block(m, n) = Σ_place a[row(place), m] · b[row(place), n]</c>,
/// where row(place) is the place or its token. One group of 8 × 8 threads computes 64 × 64 of one block, a thread 8 × 8 of them in
/// registers, from tiles of 32 places in shared memory, in their order. A block without places gets zeros. Shared memory: 16.125 KiB.
/// 2 · entries · rows · columns FLOPs.
/// </summary>
internal static class GroupedWeights
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 2 * 16 * OperandQuads + sizeof(int) * Depth;

    private const int Size = BlockLists.Size;
    private const int Depth = TransposedTile.Depth;
    private const int RowQuads = Size / 4;
    private const int OperandQuads = Depth * RowQuads;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public BlockLists Lists;
        public TypedTensor Left;    // [places or tokens, rows]
        public TypedTensor Right;   // [places or tokens, columns]
        public TypedTensor Target;  // the gradient of all blocks' weights
        public int IsLeftGathered, IsRightGathered;
        public int RowsOfBlock, ColumnsOfBlock; // of the target, from one block to the next
        public int Rows, Columns, RowTiles, ColumnTiles;
    }

    /// <summary>The kernel; one group for each tile of each block.</summary>
    public static void FeedForwardWeights(Parameters p)
    {
        ArrayView<Float4> left = SharedMemory.Allocate<Float4>(OperandQuads), right = SharedMemory.Allocate<Float4>(OperandQuads);
        ArrayView<int> tokens = SharedMemory.Allocate<int>(Depth);
        int thread = Group.IdxX, x = thread & 7, y = thread >> 3, column0 = Grid.IdxX % p.ColumnTiles * Size, rest = Grid.IdxX / p.ColumnTiles;
        int row0 = rest % p.RowTiles * Size, block = rest / p.RowTiles;
        int end = p.Lists.Offsets[block + 1];

        var sums = default(Tile8x8);
        for (int place0 = p.Lists.Offsets[block]; place0 < end; place0 += Depth)
        {
            if (thread < Depth)
                tokens[thread] = place0 + thread < end ? p.Lists.TokenAt(place0 + thread) : 0;
            Group.Barrier();
            Load(left, p.Left, tokens, p.IsLeftGathered, place0, end, row0, p.Rows);
            Load(right, p.Right, tokens, p.IsRightGathered, place0, end, column0, p.Columns);
            Group.Barrier();
            for (int quad = 0; quad < Depth / 4; quad++)
            {
                int at = 4 * quad * RowQuads, upper = at + 2 * y, lower = upper + 1, near = at + x, far = near + 8;
                sums.MultiplyAdd(left[upper], left[lower], right[near], right[far]);
                sums.MultiplyAdd(left[upper + 16], left[lower + 16], right[near + 16], right[far + 16]);
                sums.MultiplyAdd(left[upper + 32], left[lower + 32], right[near + 32], right[far + 32]);
                sums.MultiplyAdd(left[upper + 48], left[lower + 48], right[near + 48], right[far + 48]);
            }
            Group.Barrier();
        }
        long target = block * (p.RowsOfBlock * p.Target.TokenStride + p.ColumnsOfBlock);
        StoreRows(ref p, sums.UpperLeft, target, row0 + 8 * y, column0 + 4 * x);
        StoreRows(ref p, sums.UpperRight, target, row0 + 8 * y, column0 + 32 + 4 * x);
        StoreRows(ref p, sums.LowerLeft, target, row0 + 8 * y + 4, column0 + 4 * x);
        StoreRows(ref p, sums.LowerRight, target, row0 + 8 * y + 4, column0 + 32 + 4 * x);
    }

    // 64 columns of the rows of 32 places.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load(
        ArrayView<Float4> tile, TypedTensor rows, ArrayView<int> tokens, int isGathered, int place0, int end, int column0, int columns)
    {
        for (int i = Group.IdxX; i < OperandQuads; i += Threads)
        {
            int term = i / RowQuads, column = column0 + 4 * (i % RowQuads);
            long row = isGathered != 0 ? tokens[term] : place0 + term;
            tile[i] = rows.Load(row * rows.TokenStride + column, place0 + term < end ? columns - column : 0);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRows(ref Parameters p, Tile4x4 tile, long target, int row, int column)
    {
        long at = target + row * p.Target.TokenStride + column;
        p.Target.Store(at, row < p.Rows ? p.Columns - column : 0, tile.Row0);
        p.Target.Store(at + p.Target.TokenStride, row + 1 < p.Rows ? p.Columns - column : 0, tile.Row1);
        p.Target.Store(at + 2 * p.Target.TokenStride, row + 2 < p.Rows ? p.Columns - column : 0, tile.Row2);
        p.Target.Store(at + 3 * p.Target.TokenStride, row + 3 < p.Rows ? p.Columns - column : 0, tile.Row3);
    }
}
