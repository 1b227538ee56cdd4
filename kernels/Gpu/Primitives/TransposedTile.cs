using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>
/// A shared-memory tile of <c>Depth</c> columns of a row-major matrix, stored column after column so that a thread reads four
/// neighbouring rows in one access. Row quad r of column d lies at quad <c>d · (rows / 4) + (r ^ (d / 4 mod 8))</c>: the
/// exclusive or spreads a group's transposing stores over all 32 banks and costs the reads nothing.
/// </summary>
internal static class TransposedTile
{
    /// <summary>Columns of a tile.</summary>
    public const int Depth = 32;

    /// <summary>
    /// Loads columns <paramref name="depth0"/> .. + 31 of rows 0 .. <paramref name="rows"/> − 1 of the tile; what lies beyond
    /// the matrix becomes 0. Neighbouring threads read neighbouring memory.
    /// </summary>
    /// <param name="tile">Shared memory of 32 · rows floats.</param>
    /// <param name="rows">Rows of the tile, a multiple of 32 known when compiling.</param>
    /// <param name="threads">Threads of the group.</param>
    /// <param name="data">The matrix.</param>
    /// <param name="offset">Element where the tile's first row begins.</param>
    /// <param name="rowStride">Elements between rows.</param>
    /// <param name="validRows">Rows that exist, from the tile's first.</param>
    /// <param name="depth0">First column.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="hasQuads">See <see cref="TokenTensor{T}.HasQuads"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Load<T, TStorage>(
        ArrayView<float> tile, int rows, int threads, ArrayView<T> data, long offset, long rowStride, int validRows,
        int depth0, int columns, int hasQuads)
        where T : unmanaged where TStorage : struct, IStorage<T>
    {
        for (int i = Group.IdxX; i < rows * (Depth / 4); i += threads)
        {
            int column = i & (Depth / 4 - 1), row = i >> 3;
            int valid = row < validRows ? columns - depth0 - 4 * column : 0;
            Float4 value = Quads.Load<T, TStorage>(data, offset + row * rowStride + depth0 + 4 * column, valid, hasQuads);
            Store(tile, rows, column, row, value);
        }
    }

    /// <summary>Loads the same tile from a matrix that lies transposed, column after column; what lies beyond it becomes 0.</summary>
    /// <param name="tile">Shared memory of 32 · rows / 4 quads.</param>
    /// <param name="rows">Rows of the tile, a multiple of 32 known when compiling.</param>
    /// <param name="threads">Threads of the group.</param>
    /// <param name="data">The matrix.</param>
    /// <param name="offset">Element where the tile's first column begins.</param>
    /// <param name="columnStride">Elements between columns.</param>
    /// <param name="validRows">Rows that exist, from the tile's first.</param>
    /// <param name="validColumns">Columns that exist, from the tile's first.</param>
    /// <param name="hasQuads">See <see cref="TokenTensor{T}.HasQuads"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadColumns<T, TStorage>(
        ArrayView<Float4> tile, int rows, int threads, ArrayView<T> data, long offset, long columnStride, int validRows, int validColumns,
        int hasQuads)
        where T : unmanaged where TStorage : struct, IStorage<T>
    {
        int rowQuads = rows / 4;
        for (int i = Group.IdxX; i < Depth * rowQuads; i += threads)
        {
            int column = i / rowQuads, quad = i % rowQuads;
            int valid = column < validColumns ? validRows - 4 * quad : 0;
            tile[column * rowQuads + (quad ^ (column >> 2))] =
                Quads.Load<T, TStorage>(data, offset + column * columnStride + 4 * quad, valid, hasQuads);
        }
    }

    /// <summary>Stores columns 4 · <paramref name="quad"/> .. + 3 of a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(ArrayView<float> tile, int rows, int quad, int row, Float4 value)
    {
        int target = 4 * quad * rows + (((row >> 2) ^ quad) << 2) + (row & 3);
        tile[target] = value.X;
        tile[target + rows] = value.Y;
        tile[target + 2 * rows] = value.Z;
        tile[target + 3 * rows] = value.W;
    }
}
