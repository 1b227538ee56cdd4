using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The steps of attention over lists, for the groups of a tile (<see cref="ListedGroups{TIndex}"/>): products of a group's row with the rows
/// of its keys, their weighted sum, and the row added to each of them. Rows of a block, and rows of keys, are f32, side by side, and padded to
/// whole vectors; what belongs to a group's keys stands at sixteen times the group's number.
/// </summary>
internal static unsafe class ListedRows<TSimd, TVector, TIndex>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
    where TIndex : unmanaged
{
    private const int Size = ListedGroups<TIndex>.Size;

    /// <summary>products = row · key for each key of a group, those of places that repeat a key included. Writes two more.</summary>
    public static void Dots(in ListedGroups<TIndex> groups, float* rows, float* keys, int width, float* products)
    {
        if (width == 4 * TSimd.Width)
            DotsOfFour(groups, rows, keys, products);
        else
            DotsOfAny(groups, rows, keys, width, products);
    }

    /// <summary>sums += weight · value, of a group's row and over its keys.</summary>
    public static void AddListed(in ListedGroups<TIndex> groups, float* weights, float* values, int width, float* sums) =>
        Run<Gather>(groups, weights, values, width, sums);

    /// <summary>target += factor · row, for each key of a group.</summary>
    public static void AddToListed(in ListedGroups<TIndex> groups, float* factors, float* rows, int width, float* targets) =>
        Run<Scatter>(groups, factors, rows, width, targets);

    // Up to four vectors of each row at a time.
    private static void Run<TStep>(in ListedGroups<TIndex> groups, float* factors, float* source, int width, float* target)
        where TStep : struct, IStep
    {
        int w = TSimd.Width;
        for (int c = 0; c < width; c += 4 * w)
        {
            switch ((width - c) / w)
            {
                case 1:
                    TStep.Run<Counts.One>(groups, factors, source + c, width, target + c);
                    break;
                case 2:
                    TStep.Run<Counts.Two>(groups, factors, source + c, width, target + c);
                    break;
                case 3:
                    TStep.Run<Counts.Three>(groups, factors, source + c, width, target + c);
                    break;
                default:
                    TStep.Run<Counts.Four>(groups, factors, source + c, width, target + c);
                    break;
            }
        }
    }

    // Rows of four vectors, 64 elements with 512 bits.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void DotsOfFour(in ListedGroups<TIndex> groups, float* rows, float* keys, float* products)
    {
        ListedGroups<TIndex> all = groups;
        int w = TSimd.Width;
        long width = 4 * w;
        for (int g = 0; g < all.Count; g++, products += Size)
        {
            float* row = rows + all.RowOf(g) * width;
            TVector q0 = TSimd.Load(row), q1 = TSimd.Load(row + w), q2 = TSimd.Load(row + 2 * w), q3 = TSimd.Load(row + 3 * w);
            TIndex* list = all.ColumnsOf(g);
            DotPair(q0, q1, q2, q3, Row(keys, list, 0, width), Row(keys, list, 1, width), out TVector s0, out TVector s1);
            DotPair(q0, q1, q2, q3, Row(keys, list, 2, width), Row(keys, list, 3, width), out TVector s2, out TVector s3);
            DotPair(q0, q1, q2, q3, Row(keys, list, 4, width), Row(keys, list, 5, width), out TVector s4, out TVector s5);
            DotPair(q0, q1, q2, q3, Row(keys, list, 6, width), Row(keys, list, 7, width), out TVector s6, out TVector s7);
            DotPair(q0, q1, q2, q3, Row(keys, list, 8, width), Row(keys, list, 9, width), out TVector s8, out TVector s9);
            DotPair(q0, q1, q2, q3, Row(keys, list, 10, width), Row(keys, list, 11, width), out TVector s10, out TVector s11);
            DotPair(q0, q1, q2, q3, Row(keys, list, 12, width), Row(keys, list, 13, width), out TVector s12, out TVector s13);
            DotPair(q0, q1, q2, q3, Row(keys, list, 14, width), Row(keys, list, 15, width), out TVector s14, out TVector s15);
            TSimd.StoreSixteenSums(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15, products);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float* Row(float* rows, TIndex* list, int place, long width) => rows + ColumnLists.Read(list, place) * width;

    // Two in turns: a product whose statements follow one another becomes one expression, of which the JIT loads every key into a register first.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void DotPair(TVector q0, TVector q1, TVector q2, TVector q3, float* k, float* l, out TVector a, out TVector b)
    {
        int w = TSimd.Width;
        a = TSimd.Multiply(q0, TSimd.Load(k));
        b = TSimd.Multiply(q0, TSimd.Load(l));
        a = TSimd.MultiplyAdd(q1, TSimd.Load(k + w), a);
        b = TSimd.MultiplyAdd(q1, TSimd.Load(l + w), b);
        a = TSimd.MultiplyAdd(q2, TSimd.Load(k + 2 * w), a);
        b = TSimd.MultiplyAdd(q2, TSimd.Load(l + 2 * w), b);
        a = TSimd.MultiplyAdd(q3, TSimd.Load(k + 3 * w), a);
        b = TSimd.MultiplyAdd(q3, TSimd.Load(l + 3 * w), b);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void DotsOfAny(in ListedGroups<TIndex> groups, float* rows, float* keys, long width, float* products)
    {
        ListedGroups<TIndex> all = groups;
        for (int g = 0; g < all.Count; g++, products += Size)
        {
            float* row = rows + all.RowOf(g) * width;
            for (int p = 0; p < Size; p += Size / 2)
            {
                TIndex* list = all.ColumnsOf(g) + p;
                float* k0 = Row(keys, list, 0, width), k1 = Row(keys, list, 1, width), k2 = Row(keys, list, 2, width), k3 = Row(keys, list, 3, width);
                float* k4 = Row(keys, list, 4, width), k5 = Row(keys, list, 5, width), k6 = Row(keys, list, 6, width), k7 = Row(keys, list, 7, width);
                TVector a0 = TSimd.Zero, a1 = TSimd.Zero, a2 = TSimd.Zero, a3 = TSimd.Zero;
                TVector b0 = TSimd.Zero, b1 = TSimd.Zero, b2 = TSimd.Zero, b3 = TSimd.Zero;
                for (long c = 0; c < width; c += TSimd.Width)
                {
                    TVector q = TSimd.Load(row + c);
                    a0 = TSimd.MultiplyAdd(q, TSimd.Load(k0 + c), a0);
                    b0 = TSimd.MultiplyAdd(q, TSimd.Load(k1 + c), b0);
                    a1 = TSimd.MultiplyAdd(q, TSimd.Load(k2 + c), a1);
                    b1 = TSimd.MultiplyAdd(q, TSimd.Load(k3 + c), b1);
                    a2 = TSimd.MultiplyAdd(q, TSimd.Load(k4 + c), a2);
                    b2 = TSimd.MultiplyAdd(q, TSimd.Load(k5 + c), b2);
                    a3 = TSimd.MultiplyAdd(q, TSimd.Load(k6 + c), a3);
                    b3 = TSimd.MultiplyAdd(q, TSimd.Load(k7 + c), b3);
                }
                TSimd.StoreSums(a0, a1, a2, a3, b0, b1, b2, b3, products + p, 2);
            }
        }
    }

    private interface IStep
    {
        static abstract void Run<TCount>(in ListedGroups<TIndex> groups, float* factors, float* source, long width, float* target)
            where TCount : struct, ICount;
    }

    private readonly struct Gather : IStep
    {
        // Two sums side by side: one alone would wait for each multiply-add.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        public static void Run<TCount>(in ListedGroups<TIndex> groups, float* weights, float* values, long width, float* sums)
            where TCount : struct, ICount
        {
            ListedGroups<TIndex> all = groups;
            int w = TSimd.Width;
            for (int g = 0; g < all.Count; g++, weights += Size)
            {
                TIndex* list = all.ColumnsOf(g);
                float* weight = weights, end = weights + all.SizeOf(g);
                float* sum = sums + all.RowOf(g) * width;
                TVector a0 = TSimd.Load(sum), a1 = TSimd.Zero, a2 = TSimd.Zero, a3 = TSimd.Zero;
                if (TCount.Value > 1) a1 = TSimd.Load(sum + w);
                if (TCount.Value > 2) a2 = TSimd.Load(sum + 2 * w);
                if (TCount.Value > 3) a3 = TSimd.Load(sum + 3 * w);
                TVector b0 = TSimd.Zero, b1 = TSimd.Zero, b2 = TSimd.Zero, b3 = TSimd.Zero;
                for (; weight < end - 1; weight += 2, list += 2)
                {
                    float* v = Row(values, list, 0, width);
                    TVector x = TSimd.Broadcast(weight[0]);
                    a0 = TSimd.MultiplyAdd(x, TSimd.Load(v), a0);
                    if (TCount.Value > 1) a1 = TSimd.MultiplyAdd(x, TSimd.Load(v + w), a1);
                    if (TCount.Value > 2) a2 = TSimd.MultiplyAdd(x, TSimd.Load(v + 2 * w), a2);
                    if (TCount.Value > 3) a3 = TSimd.MultiplyAdd(x, TSimd.Load(v + 3 * w), a3);
                    v = Row(values, list, 1, width);
                    x = TSimd.Broadcast(weight[1]);
                    b0 = TSimd.MultiplyAdd(x, TSimd.Load(v), b0);
                    if (TCount.Value > 1) b1 = TSimd.MultiplyAdd(x, TSimd.Load(v + w), b1);
                    if (TCount.Value > 2) b2 = TSimd.MultiplyAdd(x, TSimd.Load(v + 2 * w), b2);
                    if (TCount.Value > 3) b3 = TSimd.MultiplyAdd(x, TSimd.Load(v + 3 * w), b3);
                }
                if (weight < end)
                {
                    float* v = Row(values, list, 0, width);
                    TVector x = TSimd.Broadcast(weight[0]);
                    a0 = TSimd.MultiplyAdd(x, TSimd.Load(v), a0);
                    if (TCount.Value > 1) a1 = TSimd.MultiplyAdd(x, TSimd.Load(v + w), a1);
                    if (TCount.Value > 2) a2 = TSimd.MultiplyAdd(x, TSimd.Load(v + 2 * w), a2);
                    if (TCount.Value > 3) a3 = TSimd.MultiplyAdd(x, TSimd.Load(v + 3 * w), a3);
                }
                TSimd.Store(TSimd.Add(a0, b0), sum);
                if (TCount.Value > 1) TSimd.Store(TSimd.Add(a1, b1), sum + w);
                if (TCount.Value > 2) TSimd.Store(TSimd.Add(a2, b2), sum + 2 * w);
                if (TCount.Value > 3) TSimd.Store(TSimd.Add(a3, b3), sum + 3 * w);
            }
        }
    }

    private readonly struct Scatter : IStep
    {
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        public static void Run<TCount>(in ListedGroups<TIndex> groups, float* factors, float* rows, long width, float* targets)
            where TCount : struct, ICount
        {
            ListedGroups<TIndex> all = groups;
            int w = TSimd.Width;
            for (int g = 0; g < all.Count; g++, factors += Size)
            {
                TIndex* list = all.ColumnsOf(g);
                float* row = rows + all.RowOf(g) * width;
                TVector r0 = TSimd.Load(row), r1 = r0, r2 = r0, r3 = r0;
                if (TCount.Value > 1) r1 = TSimd.Load(row + w);
                if (TCount.Value > 2) r2 = TSimd.Load(row + 2 * w);
                if (TCount.Value > 3) r3 = TSimd.Load(row + 3 * w);
                float* end = factors + all.SizeOf(g);
                for (float* factor = factors; factor < end; factor++, list++)
                {
                    float* target = Row(targets, list, 0, width);
                    TVector x = TSimd.Broadcast(*factor);
                    TSimd.Store(TSimd.MultiplyAdd(x, r0, TSimd.Load(target)), target);
                    if (TCount.Value > 1) TSimd.Store(TSimd.MultiplyAdd(x, r1, TSimd.Load(target + w)), target + w);
                    if (TCount.Value > 2) TSimd.Store(TSimd.MultiplyAdd(x, r2, TSimd.Load(target + 2 * w)), target + 2 * w);
                    if (TCount.Value > 3) TSimd.Store(TSimd.MultiplyAdd(x, r3, TSimd.Load(target + 3 * w)), target + 3 * w);
                }
            }
        }
    }
}
