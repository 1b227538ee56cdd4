using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>
/// The matrix micro-kernel every blocked kernel is built on: <c>c[6, n·W] (+)= a[6, depth] · b[depth, n·W]</c> with all of c in
/// registers. Rows of a are read one float at a time from six pointers (broadcast), rows of b as n vectors from a packed
/// panel. One multiply-add per load of a quarter: 6·n multiply-adds for n vector loads and 6 broadcasts, so the FMA units
/// are the limit when a and b come from the first- or second-level cache.
/// </summary>
internal static unsafe class MatrixTile<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>Rows of a tile.</summary>
    public const int Rows = 6;

    /// <summary>Columns of a full tile.</summary>
    public static int Columns
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => TSimd.TileVectors * TSimd.Width;
    }

    /// <summary>Columns, rounded up to whole vectors, of the panel that begins at <paramref name="column"/> of <paramref name="total"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int PanelWidth(long total, long column) =>
        (int)Math.Min(Columns, (total - column + TSimd.Width - 1) / TSimd.Width * TSimd.Width);

    /// <summary>Multiplies one tile.</summary>
    /// <param name="a">First row of a; row r begins <paramref name="aStride"/> · r floats later.</param>
    /// <param name="aStride">Floats between rows of a.</param>
    /// <param name="rows">Rows that exist, 1 to 6; the others are neither read nor written.</param>
    /// <param name="b">Packed panel [depth, width].</param>
    /// <param name="width">Width of the panel: 1 to TileVectors vectors.</param>
    /// <param name="depth">Length of the sums.</param>
    /// <param name="c">First row of the result, <paramref name="width"/> floats a row.</param>
    /// <param name="cStride">Floats between rows of c.</param>
    /// <param name="accumulate">Whether to add to c instead of overwriting it.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply(
        float* a, long aStride, int rows, float* b, int width, long depth, float* c, long cStride, bool accumulate) =>
        Multiply(a, aStride, rows, b, width, width, depth, c, cStride, accumulate);

    /// <summary>Multiplies one tile by some columns of a panel, whose rows are <paramref name="bStride"/> floats apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply(
        float* a, long aStride, int rows, float* b, long bStride, int width, long depth, float* c, long cStride, bool accumulate)
    {
        if (width == TSimd.TileVectors * TSimd.Width)
        {
            if (TSimd.TileVectors == 4)
                MultiplyVectors<Counts.Four>(a, aStride, rows, b, bStride, depth, c, cStride, accumulate);
            else
                MultiplyVectors<Counts.Two>(a, aStride, rows, b, bStride, depth, c, cStride, accumulate);
        }
        else if (width == TSimd.Width)
        {
            MultiplyVectors<Counts.One>(a, aStride, rows, b, bStride, depth, c, cStride, accumulate);
        }
        else if (width == 2 * TSimd.Width)
        {
            MultiplyVectors<Counts.Two>(a, aStride, rows, b, bStride, depth, c, cStride, accumulate);
        }
        else
        {
            MultiplyVectors<Counts.Three>(a, aStride, rows, b, bStride, depth, c, cStride, accumulate);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyVectors<TCount>(
        float* a, long aStride, int rows, float* b, long bStride, long depth, float* c, long cStride, bool accumulate)
        where TCount : struct, ICount
    {
        int w = TSimd.Width;
        // Rows that do not exist repeat the last one: their sums are computed and dropped.
        float* a0 = a;
        float* a1 = rows > 1 ? a0 + aStride : a0;
        float* a2 = rows > 2 ? a1 + aStride : a1;
        float* a3 = rows > 3 ? a2 + aStride : a2;
        float* a4 = rows > 4 ? a3 + aStride : a3;
        float* a5 = rows > 5 ? a4 + aStride : a4;
        if (accumulate)
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

            TVector x = TSimd.Broadcast(a0[k]);
            c00 = TSimd.MultiplyAdd(x, b0, c00);
            if (TCount.Value > 1) c01 = TSimd.MultiplyAdd(x, b1, c01);
            if (TCount.Value > 2) c02 = TSimd.MultiplyAdd(x, b2, c02);
            if (TCount.Value > 3) c03 = TSimd.MultiplyAdd(x, b3, c03);

            x = TSimd.Broadcast(a1[k]);
            c10 = TSimd.MultiplyAdd(x, b0, c10);
            if (TCount.Value > 1) c11 = TSimd.MultiplyAdd(x, b1, c11);
            if (TCount.Value > 2) c12 = TSimd.MultiplyAdd(x, b2, c12);
            if (TCount.Value > 3) c13 = TSimd.MultiplyAdd(x, b3, c13);

            x = TSimd.Broadcast(a2[k]);
            c20 = TSimd.MultiplyAdd(x, b0, c20);
            if (TCount.Value > 1) c21 = TSimd.MultiplyAdd(x, b1, c21);
            if (TCount.Value > 2) c22 = TSimd.MultiplyAdd(x, b2, c22);
            if (TCount.Value > 3) c23 = TSimd.MultiplyAdd(x, b3, c23);

            x = TSimd.Broadcast(a3[k]);
            c30 = TSimd.MultiplyAdd(x, b0, c30);
            if (TCount.Value > 1) c31 = TSimd.MultiplyAdd(x, b1, c31);
            if (TCount.Value > 2) c32 = TSimd.MultiplyAdd(x, b2, c32);
            if (TCount.Value > 3) c33 = TSimd.MultiplyAdd(x, b3, c33);

            x = TSimd.Broadcast(a4[k]);
            c40 = TSimd.MultiplyAdd(x, b0, c40);
            if (TCount.Value > 1) c41 = TSimd.MultiplyAdd(x, b1, c41);
            if (TCount.Value > 2) c42 = TSimd.MultiplyAdd(x, b2, c42);
            if (TCount.Value > 3) c43 = TSimd.MultiplyAdd(x, b3, c43);

            x = TSimd.Broadcast(a5[k]);
            c50 = TSimd.MultiplyAdd(x, b0, c50);
            if (TCount.Value > 1) c51 = TSimd.MultiplyAdd(x, b1, c51);
            if (TCount.Value > 2) c52 = TSimd.MultiplyAdd(x, b2, c52);
            if (TCount.Value > 3) c53 = TSimd.MultiplyAdd(x, b3, c53);
        }
        StoreRow<TCount>(c, accumulate, c00, c01, c02, c03);
        if (rows > 1) StoreRow<TCount>(c + cStride, accumulate, c10, c11, c12, c13);
        if (rows > 2) StoreRow<TCount>(c + 2 * cStride, accumulate, c20, c21, c22, c23);
        if (rows > 3) StoreRow<TCount>(c + 3 * cStride, accumulate, c30, c31, c32, c33);
        if (rows > 4) StoreRow<TCount>(c + 4 * cStride, accumulate, c40, c41, c42, c43);
        if (rows > 5) StoreRow<TCount>(c + 5 * cStride, accumulate, c50, c51, c52, c53);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<TCount>(float* c, bool accumulate, TVector v0, TVector v1, TVector v2, TVector v3)
        where TCount : struct, ICount
    {
        Store(c, accumulate, v0);
        if (TCount.Value > 1) Store(c + TSimd.Width, accumulate, v1);
        if (TCount.Value > 2) Store(c + 2 * TSimd.Width, accumulate, v2);
        if (TCount.Value > 3) Store(c + 3 * TSimd.Width, accumulate, v3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* c, bool accumulate, TVector v) =>
        TSimd.Store(accumulate ? TSimd.Add(TSimd.Load(c), v) : v, c);
}
