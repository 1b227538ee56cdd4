using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.FeedForward;

/// <summary>
/// A product of the rows at each block's places with the weights of that block: <c>c[place, n] = Σ_k a[row(place), k] · w_block(k, n)</c>,
/// where row(place) is the place or its token. One group of 8 × 8 threads computes 64 places of one block × 64 columns, a thread 8 × 8 of
/// them in registers, from tiles of 32 terms in shared memory. Blocks have as many tiles as their places need: groups past the last one do
/// nothing. Shared memory: 16.5 KiB. 2 · entries · columns · depth FLOPs.
/// </summary>
internal static class GroupedRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 2 * 16 * OperandQuads + 8 * Size;

    private const int Size = BlockLists.Size;
    private const int Depth = TransposedTile.Depth;
    private const int RowQuads = Size / 4;
    private const int OperandQuads = Depth * RowQuads;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public BlockLists Lists;
        public TypedTensor Left;          // [places or tokens, depth]
        public TypedTensor Weight;        // a row for each column of the product, or, with IsDepthMajor, for each of its terms
        public TypedTensor Bias;          // [innerSize], of the block's units
        public MatrixView<float> Target;  // [places, columns]
        public int IsGathered, IsDepthMajor, HasBias, Accumulates;
        public int RowsOfBlock, ColumnsOfBlock; // of the weight, from one block to the next
        public int Columns, Terms, ColumnTiles;
    }

    /// <summary>The kernel; one group for each tile of columns of each tile of places.</summary>
    public static void FeedForwardRows(Parameters p)
    {
        ArrayView<Float4> left = SharedMemory.Allocate<Float4>(OperandQuads), right = SharedMemory.Allocate<Float4>(OperandQuads);
        ArrayView<long> offsets = SharedMemory.Allocate<long>(Size); // of the rows on the left; −1: not there
        int thread = Group.IdxX, x = thread & 7, y = thread >> 3, tile = Grid.IdxX / p.ColumnTiles, column0 = Grid.IdxX % p.ColumnTiles * Size;
        int block = 0, place0 = 0, end = 0;
        for (int j = 0, next = tile; j < p.Lists.Blocks; j++)
        {
            int begin = p.Lists.Offsets[j], until = p.Lists.Offsets[j + 1], tiles = (until - begin + Size - 1) / Size;
            if (next >= 0 && next < tiles)
            {
                block = j;
                place0 = begin + next * Size;
                end = until;
            }
            next -= tiles;
        }
        int place = place0 + thread;
        long offset = -1;
        if (place < end)
            offset = (p.IsGathered != 0 ? p.Lists.TokenAt(place) : place) * p.Left.TokenStride;
        offsets[thread] = offset;
        long weight = block * (p.RowsOfBlock * p.Weight.TokenStride + p.ColumnsOfBlock);
        int terms = end > 0 ? p.Terms : 0;
        Group.Barrier();

        var sums = default(Tile8x8);
        for (int term0 = 0; term0 < terms; term0 += Depth)
        {
            LoadLeft(ref p, left.Cast<float>(), offsets, term0);
            if (p.IsDepthMajor != 0)
                LoadTerms(ref p, right, weight, term0, column0);
            else
                LoadColumns(ref p, right.Cast<float>(), weight, term0, column0);
            Group.Barrier();
            for (int quad = 0; quad < Depth / 4; quad++)
            {
                int at = 4 * quad * RowQuads, upper = at + ((2 * y) ^ quad), lower = at + ((2 * y + 1) ^ quad);
                int near = at + (x ^ quad), far = at + ((8 + x) ^ quad);
                sums.MultiplyAdd(left[upper], left[lower], right[near], right[far]);
                sums.MultiplyAdd(left[upper + 16], left[lower + 16], right[near + 16], right[far + 16]);
                sums.MultiplyAdd(left[upper + 32], left[lower + 32], right[near + 32], right[far + 32]);
                sums.MultiplyAdd(left[upper + 48], left[lower + 48], right[near + 48], right[far + 48]);
            }
            Group.Barrier();
        }
        int rows = end - place0 - 8 * y, bias = block * p.Lists.UnitsOfBlock;
        StoreRows(ref p, sums.UpperLeft, place0 + 8 * y, rows, column0 + 4 * x, bias);
        StoreRows(ref p, sums.UpperRight, place0 + 8 * y, rows, column0 + 32 + 4 * x, bias);
        StoreRows(ref p, sums.LowerLeft, place0 + 8 * y + 4, rows - 4, column0 + 4 * x, bias);
        StoreRows(ref p, sums.LowerRight, place0 + 8 * y + 4, rows - 4, column0 + 32 + 4 * x, bias);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadLeft(ref Parameters p, ArrayView<float> tile, ArrayView<long> offsets, int term0)
    {
        for (int i = Group.IdxX; i < Size * (Depth / 4); i += Threads)
        {
            int quad = i & (Depth / 4 - 1), row = i >> 3;
            long offset = offsets[row];
            StoreTransposed(tile, quad, row, p.Left.Load(offset + term0 + 4 * quad, offset >= 0 ? p.Terms - term0 - 4 * quad : 0));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadColumns(ref Parameters p, ArrayView<float> tile, long weight, int term0, int column0)
    {
        for (int i = Group.IdxX; i < Size * (Depth / 4); i += Threads)
        {
            int quad = i & (Depth / 4 - 1), column = i >> 3;
            long offset = weight + (column0 + column) * p.Weight.TokenStride + term0 + 4 * quad;
            StoreTransposed(tile, quad, column, p.Weight.Load(offset, column0 + column < p.Columns ? p.Terms - term0 - 4 * quad : 0));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadTerms(ref Parameters p, ArrayView<Float4> tile, long weight, int term0, int column0)
    {
        for (int i = Group.IdxX; i < Depth * RowQuads; i += Threads)
        {
            int term = i / RowQuads, quad = i % RowQuads;
            long offset = weight + (term0 + term) * p.Weight.TokenStride + column0 + 4 * quad;
            tile[term * RowQuads + (quad ^ (term >> 2))] = p.Weight.Load(offset, term0 + term < p.Terms ? p.Columns - column0 - 4 * quad : 0);
        }
    }

    // As TransposedTile has it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreTransposed(ArrayView<float> tile, int quad, int row, Float4 value)
    {
        int target = 4 * quad * Size + (((row >> 2) ^ quad) << 2) + (row & 3);
        tile[target] = value.X;
        tile[target + Size] = value.Y;
        tile[target + 2 * Size] = value.Z;
        tile[target + 3 * Size] = value.W;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRows(ref Parameters p, Tile4x4 tile, int place, int rows, int column, int bias)
    {
        StoreRow(ref p, tile.Row0, place, rows > 0 ? p.Columns - column : 0, column, bias);
        StoreRow(ref p, tile.Row1, place + 1, rows > 1 ? p.Columns - column : 0, column, bias);
        StoreRow(ref p, tile.Row2, place + 2, rows > 2 ? p.Columns - column : 0, column, bias);
        StoreRow(ref p, tile.Row3, place + 3, rows > 3 ? p.Columns - column : 0, column, bias);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(ref Parameters p, Float4 sum, int place, int valid, int column, int bias)
    {
        if (valid > 0)
        {
            long at = place * p.Target.RowStride + column;
            if (p.HasBias != 0)
                sum = Float4.Add(sum, p.Bias.Load(bias + column, valid));
            if (p.Accumulates != 0)
                sum = Float4.Add(sum, Quads.Load<float, Float32Storage>(p.Target.Data, at, valid, p.Target.HasQuads));
            Quads.Store<float, Float32Storage>(p.Target.Data, at, valid, p.Target.HasQuads, sum);
        }
    }
}
