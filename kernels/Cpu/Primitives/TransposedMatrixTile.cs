using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>
/// The matrix micro-kernel for a factor that lies transposed: <c>c[6, n·W] += aᵀ · b</c> with a[depth, 6] and b[depth, n·W] as rows of
/// larger matrices, and all of c in registers. What <see cref="MatrixTile{TSimd, TVector}"/> reads from six rows is six
/// neighbours here, so a product with the transpose of a matrix needs no transposed copy of it. Row strides of an odd
/// number of cache lines keep the rows out of one another's cache sets.
/// </summary>
internal static unsafe class TransposedMatrixTile<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>Rows of c, columns of a, of a tile.</summary>
    public const int Rows = 6;

    /// <summary>Adds the product of one tile.</summary>
    /// <param name="a">First element of the first row of a. Six columns are read, whatever <paramref name="rows"/> is.</param>
    /// <param name="aStride">Floats between rows of a.</param>
    /// <param name="rows">Rows of c that exist, 1 to 6; the others are neither read nor written.</param>
    /// <param name="b">First row of b.</param>
    /// <param name="bStride">Floats between rows of b.</param>
    /// <param name="width">Columns: 1 to TileVectors vectors.</param>
    /// <param name="depth">Rows of a and b, the length of the sums.</param>
    /// <param name="c">First row of the result.</param>
    /// <param name="cStride">Floats between rows of c.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MultiplyAdd(float* a, long aStride, int rows, float* b, long bStride, int width, long depth, float* c, long cStride)
    {
        if (width == TSimd.TileVectors * TSimd.Width)
        {
            if (TSimd.TileVectors == 4)
                MultiplyVectors<Counts.Four>(a, aStride, rows, b, bStride, depth, c, cStride);
            else
                MultiplyVectors<Counts.Two>(a, aStride, rows, b, bStride, depth, c, cStride);
        }
        else if (width == TSimd.Width)
        {
            MultiplyVectors<Counts.One>(a, aStride, rows, b, bStride, depth, c, cStride);
        }
        else if (width == 2 * TSimd.Width)
        {
            MultiplyVectors<Counts.Two>(a, aStride, rows, b, bStride, depth, c, cStride);
        }
        else
        {
            MultiplyVectors<Counts.Three>(a, aStride, rows, b, bStride, depth, c, cStride);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyVectors<TCount>(
        float* a, long aStride, int rows, float* b, long bStride, long depth, float* c, long cStride)
        where TCount : struct, ICount
    {
        int w = TSimd.Width;
        Vectors.PrefetchRows(c, cStride, rows, TCount.Value * w);
        TVector c00 = TSimd.Zero, c01 = TSimd.Zero, c02 = TSimd.Zero, c03 = TSimd.Zero;
        TVector c10 = TSimd.Zero, c11 = TSimd.Zero, c12 = TSimd.Zero, c13 = TSimd.Zero;
        TVector c20 = TSimd.Zero, c21 = TSimd.Zero, c22 = TSimd.Zero, c23 = TSimd.Zero;
        TVector c30 = TSimd.Zero, c31 = TSimd.Zero, c32 = TSimd.Zero, c33 = TSimd.Zero;
        TVector c40 = TSimd.Zero, c41 = TSimd.Zero, c42 = TSimd.Zero, c43 = TSimd.Zero;
        TVector c50 = TSimd.Zero, c51 = TSimd.Zero, c52 = TSimd.Zero, c53 = TSimd.Zero;
        for (long k = 0; k < depth; k++)
        {
            TVector b0 = TSimd.Load(b);
            TVector b1 = TCount.Value > 1 ? TSimd.Load(b + w) : b0;
            TVector b2 = TCount.Value > 2 ? TSimd.Load(b + 2 * w) : b0;
            TVector b3 = TCount.Value > 3 ? TSimd.Load(b + 3 * w) : b0;
            b += bStride;

            TVector x = TSimd.Broadcast(a[0]);
            c00 = TSimd.MultiplyAdd(x, b0, c00);
            if (TCount.Value > 1) c01 = TSimd.MultiplyAdd(x, b1, c01);
            if (TCount.Value > 2) c02 = TSimd.MultiplyAdd(x, b2, c02);
            if (TCount.Value > 3) c03 = TSimd.MultiplyAdd(x, b3, c03);

            x = TSimd.Broadcast(a[1]);
            c10 = TSimd.MultiplyAdd(x, b0, c10);
            if (TCount.Value > 1) c11 = TSimd.MultiplyAdd(x, b1, c11);
            if (TCount.Value > 2) c12 = TSimd.MultiplyAdd(x, b2, c12);
            if (TCount.Value > 3) c13 = TSimd.MultiplyAdd(x, b3, c13);

            x = TSimd.Broadcast(a[2]);
            c20 = TSimd.MultiplyAdd(x, b0, c20);
            if (TCount.Value > 1) c21 = TSimd.MultiplyAdd(x, b1, c21);
            if (TCount.Value > 2) c22 = TSimd.MultiplyAdd(x, b2, c22);
            if (TCount.Value > 3) c23 = TSimd.MultiplyAdd(x, b3, c23);

            x = TSimd.Broadcast(a[3]);
            c30 = TSimd.MultiplyAdd(x, b0, c30);
            if (TCount.Value > 1) c31 = TSimd.MultiplyAdd(x, b1, c31);
            if (TCount.Value > 2) c32 = TSimd.MultiplyAdd(x, b2, c32);
            if (TCount.Value > 3) c33 = TSimd.MultiplyAdd(x, b3, c33);

            x = TSimd.Broadcast(a[4]);
            c40 = TSimd.MultiplyAdd(x, b0, c40);
            if (TCount.Value > 1) c41 = TSimd.MultiplyAdd(x, b1, c41);
            if (TCount.Value > 2) c42 = TSimd.MultiplyAdd(x, b2, c42);
            if (TCount.Value > 3) c43 = TSimd.MultiplyAdd(x, b3, c43);

            x = TSimd.Broadcast(a[5]);
            c50 = TSimd.MultiplyAdd(x, b0, c50);
            if (TCount.Value > 1) c51 = TSimd.MultiplyAdd(x, b1, c51);
            if (TCount.Value > 2) c52 = TSimd.MultiplyAdd(x, b2, c52);
            if (TCount.Value > 3) c53 = TSimd.MultiplyAdd(x, b3, c53);
            a += aStride;
        }
        AddRow<TCount>(c, c00, c01, c02, c03);
        if (rows > 1) AddRow<TCount>(c + cStride, c10, c11, c12, c13);
        if (rows > 2) AddRow<TCount>(c + 2 * cStride, c20, c21, c22, c23);
        if (rows > 3) AddRow<TCount>(c + 3 * cStride, c30, c31, c32, c33);
        if (rows > 4) AddRow<TCount>(c + 4 * cStride, c40, c41, c42, c43);
        if (rows > 5) AddRow<TCount>(c + 5 * cStride, c50, c51, c52, c53);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddRow<TCount>(float* c, TVector v0, TVector v1, TVector v2, TVector v3) where TCount : struct, ICount
    {
        Add(c, v0);
        if (TCount.Value > 1) Add(c + TSimd.Width, v1);
        if (TCount.Value > 2) Add(c + 2 * TSimd.Width, v2);
        if (TCount.Value > 3) Add(c + 3 * TSimd.Width, v3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(float* c, TVector v) => TSimd.Store(TSimd.Add(TSimd.Load(c), v), c);
}
