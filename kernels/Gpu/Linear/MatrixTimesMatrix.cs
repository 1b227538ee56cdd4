using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Linear;

/// <summary>
/// A linear layer for many rows: <c>y_mn = Σ_k x_mk · w_nk</c>. One group of 8 × 8 threads computes 64 rows × 64 features, a
/// thread 8 × 8 of them in registers (rows 8y .. 8y + 7; feature quads x and 8 + x), from tiles of 32 columns of k in shared
/// memory (16 KiB), whichever way a factor lies. Every input and weight is read once for 64 results;
/// 2 · rows · outputSize · inputSize FLOPs.
/// </summary>
internal static class MatrixTimesMatrix
{
    /// <summary>Rows and features of a group's tile.</summary>
    public const int Block = 64;

    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>The kernel; one group a tile, tiles of one block of rows next to each other.</summary>
    public static void LinearTiled<TWeight, TWeightStorage>(LinearParameters<TWeight> p)
        where TWeight : unmanaged where TWeightStorage : struct, IStorage<TWeight>
    {
        ArrayView<Float4> inputTile = SharedMemory.Allocate<Float4>(TransposedTile.Depth * Block / 4);
        ArrayView<Float4> weightTile = SharedMemory.Allocate<Float4>(TransposedTile.Depth * Block / 4);
        int x = Group.IdxX & 7, y = Group.IdxX >> 3;
        int featureBlocks = (p.OutputSize + Block - 1) / Block;
        int row0 = Grid.IdxX / featureBlocks * Block, feature0 = Grid.IdxX % featureBlocks * Block;

        var sum = default(Tile8x8);
        for (int depth0 = 0; depth0 < p.InputSize; depth0 += TransposedTile.Depth)
        {
            Load<float, Float32Storage>(inputTile, p.Input, p.IsInputTransposed, row0, p.Rows, depth0, p.InputSize);
            Load<TWeight, TWeightStorage>(weightTile, p.Weight, p.IsWeightTransposed, feature0, p.OutputSize, depth0, p.InputSize);
            Group.Barrier();
            int columns = p.InputSize - depth0;
            for (int quad = 0; quad < TransposedTile.Depth / 4 && 4 * quad < columns; quad++)
            {
                int tile = quad * Block;
                int upper = tile + ((2 * y) ^ quad), lower = tile + ((2 * y + 1) ^ quad);
                int left = tile + (x ^ quad), right = tile + ((8 + x) ^ quad);
                sum.MultiplyAddTerms(inputTile, weightTile, upper, lower, left, right);
            }
            Group.Barrier();
        }
        StoreRows(ref p, sum.UpperLeft, row0 + 8 * y, feature0 + 4 * x);
        StoreRows(ref p, sum.UpperRight, row0 + 8 * y, feature0 + 32 + 4 * x);
        StoreRows(ref p, sum.LowerLeft, row0 + 8 * y + 4, feature0 + 4 * x);
        StoreRows(ref p, sum.LowerRight, row0 + 8 * y + 4, feature0 + 32 + 4 * x);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load<T, TStorage>(
        ArrayView<Float4> tile, MatrixView<T> factor, int isTransposed, int row0, int rows, int depth0, int inputSize)
        where T : unmanaged where TStorage : struct, IStorage<T>
    {
        if (isTransposed != 0)
        {
            TransposedTile.LoadColumns<T, TStorage>(
                tile, Block, Threads, factor.Data, depth0 * factor.RowStride + row0, factor.RowStride, rows - row0, inputSize - depth0,
                factor.HasQuads);
        }
        else
        {
            TransposedTile.Load<T, TStorage>(
                tile.Cast<float>(), Block, Threads, factor.Data, row0 * factor.RowStride, factor.RowStride, rows - row0, depth0, inputSize,
                factor.HasQuads);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRows<TWeight>(ref LinearParameters<TWeight> p, Tile4x4 rows, int row, int feature) where TWeight : unmanaged
    {
        int valid = p.OutputSize - feature;
        long offset = row * p.Output.RowStride + feature;
        if (row < p.Rows)
            Quads.Store<float, Float32Storage>(p.Output.Data, offset, valid, p.Output.HasQuads, rows.Row0);
        if (row + 1 < p.Rows)
            Quads.Store<float, Float32Storage>(p.Output.Data, offset + p.Output.RowStride, valid, p.Output.HasQuads, rows.Row1);
        if (row + 2 < p.Rows)
            Quads.Store<float, Float32Storage>(p.Output.Data, offset + 2 * p.Output.RowStride, valid, p.Output.HasQuads, rows.Row2);
        if (row + 3 < p.Rows)
            Quads.Store<float, Float32Storage>(p.Output.Data, offset + 3 * p.Output.RowStride, valid, p.Output.HasQuads, rows.Row3);
    }
}
