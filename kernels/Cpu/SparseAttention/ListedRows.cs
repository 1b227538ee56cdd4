using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The three steps of attention over a list, for one query row and the keys of its list that a tile holds: products with the rows listed,
/// their weighted sum, and the row added to each of them. A list is worked off in groups of eight; a tile takes the groups that begin in
/// it, so that only a list's end is not a whole group. Rows are f32, side by side, and padded to whole vectors.
/// </summary>
internal static unsafe class ListedRows<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>Keys of a group.</summary>
    public const int Group = 8;

    /// <summary>Where the list of a row goes on after a tile: the first group that begins at or after <paramref name="keyEnd"/>.</summary>
    /// <param name="columns">The list.</param>
    /// <param name="count">Its length.</param>
    /// <param name="position">Where the tile begins in it, a multiple of the group.</param>
    /// <param name="keyEnd">One past the tile's last key.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Next(int* columns, int count, int position, int keyEnd)
    {
        while (position < count && columns[position] < keyEnd)
            position += Group;
        return Math.Min(position, count);
    }

    /// <summary>products[p] = row · rows[columns[p]]. Writes up to the end of the last group, and two more.</summary>
    public static void Dots(float* row, float* rows, int width, int* columns, int count, float* products)
    {
        int whole = count / Group * Group;
        if (whole > 0)
            DotGroups(row, rows, width, columns, whole, products);
        if (whole == count)
            return;
        int* rest = stackalloc int[Group];
        for (int i = 0; i < Group; i++)
            rest[i] = columns[Math.Min(whole + i, count - 1)];
        DotGroups(row, rows, width, rest, Group, products + whole);
    }

    /// <summary>sums += Σ_p weights[p] · rows[columns[p]].</summary>
    public static void AddListed(float* weights, float* rows, int width, int* columns, int count, float* sums)
    {
        int w = TSimd.Width;
        for (int c = 0; c < width; c += 4 * w)
        {
            switch ((width - c) / w)
            {
                case 1:
                    AddListed<Counts.One>(weights, rows + c, width, columns, count, sums + c);
                    break;
                case 2:
                    AddListed<Counts.Two>(weights, rows + c, width, columns, count, sums + c);
                    break;
                case 3:
                    AddListed<Counts.Three>(weights, rows + c, width, columns, count, sums + c);
                    break;
                default:
                    AddListed<Counts.Four>(weights, rows + c, width, columns, count, sums + c);
                    break;
            }
        }
    }

    /// <summary>rows[columns[p]] += factors[p] · row.</summary>
    public static void AddToListed(float* row, float* factors, float* rows, int width, int* columns, int count)
    {
        int w = TSimd.Width;
        for (int c = 0; c < width; c += 4 * w)
        {
            switch ((width - c) / w)
            {
                case 1:
                    AddToListed<Counts.One>(row + c, factors, rows + c, width, columns, count);
                    break;
                case 2:
                    AddToListed<Counts.Two>(row + c, factors, rows + c, width, columns, count);
                    break;
                case 3:
                    AddToListed<Counts.Three>(row + c, factors, rows + c, width, columns, count);
                    break;
                default:
                    AddToListed<Counts.Four>(row + c, factors, rows + c, width, columns, count);
                    break;
            }
        }
    }

    private static void DotGroups(float* row, float* rows, int width, int* columns, int count, float* products)
    {
        if (width == 4 * TSimd.Width)
            DotGroupsOfFour(row, rows, columns, count, products);
        else
            DotGroupsOfAny(row, rows, width, columns, count, products);
    }

    // Rows of four vectors, 64 elements with 512 bits: the query row stays in registers.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void DotGroupsOfFour(float* row, float* rows, int* columns, int count, float* products)
    {
        int w = TSimd.Width;
        long width = 4 * w;
        TVector q0 = TSimd.Load(row), q1 = TSimd.Load(row + w), q2 = TSimd.Load(row + 2 * w), q3 = TSimd.Load(row + 3 * w);
        for (int p = 0; p < count; p += Group)
        {
            int* list = columns + p;
            TVector a0 = Dot(q0, q1, q2, q3, rows + list[0] * width), a1 = Dot(q0, q1, q2, q3, rows + list[2] * width);
            TVector a2 = Dot(q0, q1, q2, q3, rows + list[4] * width), a3 = Dot(q0, q1, q2, q3, rows + list[6] * width);
            TVector b0 = Dot(q0, q1, q2, q3, rows + list[1] * width), b1 = Dot(q0, q1, q2, q3, rows + list[3] * width);
            TVector b2 = Dot(q0, q1, q2, q3, rows + list[5] * width), b3 = Dot(q0, q1, q2, q3, rows + list[7] * width);
            TSimd.StoreSums(a0, a1, a2, a3, b0, b1, b2, b3, products + p, 2);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Dot(TVector q0, TVector q1, TVector q2, TVector q3, float* k)
    {
        int w = TSimd.Width;
        TVector sum = TSimd.Multiply(q0, TSimd.Load(k));
        sum = TSimd.MultiplyAdd(q1, TSimd.Load(k + w), sum);
        sum = TSimd.MultiplyAdd(q2, TSimd.Load(k + 2 * w), sum);
        return TSimd.MultiplyAdd(q3, TSimd.Load(k + 3 * w), sum);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void DotGroupsOfAny(float* row, float* rows, int width, int* columns, int count, float* products)
    {
        for (int p = 0; p < count; p += Group)
        {
            int* list = columns + p;
            float* k0 = rows + (long)list[0] * width, k1 = rows + (long)list[1] * width;
            float* k2 = rows + (long)list[2] * width, k3 = rows + (long)list[3] * width;
            float* k4 = rows + (long)list[4] * width, k5 = rows + (long)list[5] * width;
            float* k6 = rows + (long)list[6] * width, k7 = rows + (long)list[7] * width;
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

    // Two sums side by side: one alone would wait for each multiply-add.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void AddListed<TCount>(float* weights, float* rows, long width, int* columns, int count, float* sums)
        where TCount : struct, ICount
    {
        int w = TSimd.Width;
        TVector a0 = TSimd.Load(sums), a1 = TSimd.Zero, a2 = TSimd.Zero, a3 = TSimd.Zero;
        if (TCount.Value > 1) a1 = TSimd.Load(sums + w);
        if (TCount.Value > 2) a2 = TSimd.Load(sums + 2 * w);
        if (TCount.Value > 3) a3 = TSimd.Load(sums + 3 * w);
        TVector b0 = TSimd.Zero, b1 = TSimd.Zero, b2 = TSimd.Zero, b3 = TSimd.Zero;
        int p = 0;
        for (; p <= count - 2; p += 2)
        {
            float* v = rows + columns[p] * width;
            TVector x = TSimd.Broadcast(weights[p]);
            a0 = TSimd.MultiplyAdd(x, TSimd.Load(v), a0);
            if (TCount.Value > 1) a1 = TSimd.MultiplyAdd(x, TSimd.Load(v + w), a1);
            if (TCount.Value > 2) a2 = TSimd.MultiplyAdd(x, TSimd.Load(v + 2 * w), a2);
            if (TCount.Value > 3) a3 = TSimd.MultiplyAdd(x, TSimd.Load(v + 3 * w), a3);
            v = rows + columns[p + 1] * width;
            x = TSimd.Broadcast(weights[p + 1]);
            b0 = TSimd.MultiplyAdd(x, TSimd.Load(v), b0);
            if (TCount.Value > 1) b1 = TSimd.MultiplyAdd(x, TSimd.Load(v + w), b1);
            if (TCount.Value > 2) b2 = TSimd.MultiplyAdd(x, TSimd.Load(v + 2 * w), b2);
            if (TCount.Value > 3) b3 = TSimd.MultiplyAdd(x, TSimd.Load(v + 3 * w), b3);
        }
        if (p < count)
        {
            float* v = rows + columns[p] * width;
            TVector x = TSimd.Broadcast(weights[p]);
            a0 = TSimd.MultiplyAdd(x, TSimd.Load(v), a0);
            if (TCount.Value > 1) a1 = TSimd.MultiplyAdd(x, TSimd.Load(v + w), a1);
            if (TCount.Value > 2) a2 = TSimd.MultiplyAdd(x, TSimd.Load(v + 2 * w), a2);
            if (TCount.Value > 3) a3 = TSimd.MultiplyAdd(x, TSimd.Load(v + 3 * w), a3);
        }
        TSimd.Store(TSimd.Add(a0, b0), sums);
        if (TCount.Value > 1) TSimd.Store(TSimd.Add(a1, b1), sums + w);
        if (TCount.Value > 2) TSimd.Store(TSimd.Add(a2, b2), sums + 2 * w);
        if (TCount.Value > 3) TSimd.Store(TSimd.Add(a3, b3), sums + 3 * w);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void AddToListed<TCount>(float* row, float* factors, float* rows, long width, int* columns, int count)
        where TCount : struct, ICount
    {
        int w = TSimd.Width;
        TVector r0 = TSimd.Load(row), r1 = r0, r2 = r0, r3 = r0;
        if (TCount.Value > 1) r1 = TSimd.Load(row + w);
        if (TCount.Value > 2) r2 = TSimd.Load(row + 2 * w);
        if (TCount.Value > 3) r3 = TSimd.Load(row + 3 * w);
        for (int p = 0; p < count; p++)
        {
            float* target = rows + columns[p] * width;
            TVector x = TSimd.Broadcast(factors[p]);
            TSimd.Store(TSimd.MultiplyAdd(x, r0, TSimd.Load(target)), target);
            if (TCount.Value > 1) TSimd.Store(TSimd.MultiplyAdd(x, r1, TSimd.Load(target + w)), target + w);
            if (TCount.Value > 2) TSimd.Store(TSimd.MultiplyAdd(x, r2, TSimd.Load(target + 2 * w)), target + 2 * w);
            if (TCount.Value > 3) TSimd.Store(TSimd.MultiplyAdd(x, r3, TSimd.Load(target + 3 * w)), target + 3 * w);
        }
    }
}
