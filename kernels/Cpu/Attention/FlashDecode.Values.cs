using System.Numerics;
using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

// Sums of weighted values.
public sealed unsafe partial class FlashDecode<TSimd, TVector>
{
    private partial struct Body
    {
        // Adds the weighted values of the block to the sums of up to four rows. Rows share a pass over the values that all of
        // them see; a value that a row does not see, which may be NaN, is never touched for it.
        private readonly void AddQuad<TSource, TCareful>(int row0, int rows, byte** values, float* state, in Scratch scratch)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            RowKeys* keys = scratch.Rows + row0;
            float* weights = scratch.Scores + (long)row0 * ScoreStride, sums = state + (long)row0 * Plan.ValueWidth;
            int low = 0, high = BlockN;
            bool isPartial = false, isAlike = true;
            for (int i = 0; i < rows; i++)
            {
                (low, high) = (Math.Max(low, keys[i].Low), Math.Min(high, keys[i].High));
                isPartial |= keys[i].IsPartial;
                isAlike &= keys[i].IsPartial && keys[i].SeesAlike(keys[0]);
            }
            if (isPartial && isAlike)
            {
                if (keys->Low < keys->High)
                    AddSeen<TSource, TCareful>(keys[0], weights, rows, values, sums, scratch);
                return;
            }
            if (isPartial || low >= high)
                low = high = 0;
            else
                AddValues<TSource, TCareful>(weights + low, rows, values + low, high - low, asks: row0 == 0, sums);
            for (int i = 0; i < rows; i++, weights += ScoreStride, sums += Plan.ValueWidth)
            {
                if (keys[i].Low >= keys[i].High)
                    continue;
                if (keys[i].IsPartial)
                {
                    AddSeen<TSource, TCareful>(keys[i], weights, 1, values, sums, scratch);
                    continue;
                }
                int before = low < high ? low : keys[i].High;
                AddValues<TSource, TCareful>(weights + keys[i].Low, 1, values + keys[i].Low, before - keys[i].Low, asks: false, sums);
                if (low < high)
                    AddValues<TSource, TCareful>(weights + high, 1, values + high, keys[i].High - high, asks: false, sums);
            }
        }

        // As AddValues, of the keys of the block that are not hidden, drawn together.
        private readonly void AddSeen<TSource, TCareful>(
            in RowKeys keys, float* weights, int rows, byte** values, float* sums, in Scratch scratch)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            int count = 0;
            for (int word = 0; word < SeenWords; word++)
            {
                for (ulong seen = keys.Seen[word]; seen != 0; seen &= seen - 1, count++)
                {
                    int j = 64 * word + BitOperations.TrailingZeroCount(seen);
                    scratch.SeenValues[count] = values[j];
                    for (int i = 0; i < rows; i++)
                        scratch.SeenScores[i * ScoreStride + count] = weights[i * ScoreStride + j];
                }
            }
            AddValues<TSource, TCareful>(scratch.SeenScores, rows, scratch.SeenValues, count, asks: false, sums);
        }

        // sums[r] += Σ_j weights[r, j] · v_j, some rows of values after another: memory is read in order, and of rows that are
        // longer than what the registers hold sums for, the other columns come from the first-level cache. `asks` for what is
        // ahead in the list, each column for itself, which spreads the asking: the first to read the block does.
        private readonly void AddValues<TSource, TCareful>(float* weights, int rows, byte** values, int count, bool asks, float* sums)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            if (Problem.ValueHeadDim < TSimd.Width)
            {
                AddNarrow<TCareful>(weights, rows, values, count, Problem.ValueHeadDim, sums, Plan.ValueWidth);
                return;
            }
            for (; count > 0; count -= StepRows, weights += StepRows, values += StepRows)
                AddStep<TSource, TCareful>(weights, rows, values, Math.Min(count, StepRows), asks, sums);
        }

        private readonly void AddStep<TSource, TCareful>(float* weights, int rows, byte** values, int count, bool asks, float* sums)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            int w = TSimd.Width, size = Problem.ValueHeadDim, width = Plan.ValueWidth;
            int column = 0;
            if (rows <= 2)
            {
                for (; column <= size - 8 * w; column += 8 * w)
                    AddRows<TSource, TCareful, Counts.Eight>(weights, rows, values, count, column, asks, sums + column, width);
            }
            for (; column <= size - 4 * w; column += 4 * w)
                AddRows<TSource, TCareful, Counts.Four>(weights, rows, values, count, column, asks, sums + column, width);
            for (; column < size; column += w)
                AddRows<TSource, TCareful, Counts.One>(weights, rows, values, count, Math.Min(column, size - w), asks, sums + column, width);
        }

        private static void AddRows<TSource, TCareful, TCount>(
            float* weights, int rows, byte** values, int count, long column, bool asks, float* sums, int width)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
            where TCount : struct, ICount
        {
            if (!AddColumns<TSource, TCount>(weights, rows, values, count, column, asks, sums, width))
                AddColumns<TCareful, TCount>(weights, rows, values, count, column, asks, sums, width);
        }

        // The fourth row may be one that does not exist: its weights and sums are no one's.
        private static bool AddColumns<TSource, TCount>(
            float* weights, int rows, byte** values, int count, long column, bool asks, float* sums, int width)
            where TSource : struct, ISource<TVector>
            where TCount : struct, ICount => rows switch
            {
                1 => AddTwo<TSource, Counts.One, TCount>(weights, values, count, column, asks, sums, width),
                2 => AddTwo<TSource, Counts.Two, TCount>(weights, values, count, column, asks, sums, width),
                _ => AddFour<TSource, TCount>(weights, values, count, column, asks, sums, width),
            };

        // Values shorter than a vector.
        private static void AddNarrow<TSource>(float* weights, int rows, byte** values, int count, int size, float* sums, int width)
            where TSource : struct, ISource<TVector>
        {
            for (int r = 0; r < rows; r++)
            {
                for (int j = 0; j < count; j++)
                {
                    for (int c = 0; c < size; c++)
                        sums[r * width + c] += weights[r * ScoreStride + j] * TSource.LoadOne(values[j], c);
                }
            }
        }

        // One or two rows; up to eight vectors of each stay in registers.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool AddTwo<TSource, TRowCount, TCount>(
            float* p, byte** rows, int count, long column, bool asks, float* sums, int width)
            where TSource : struct, ISource<TVector>
            where TRowCount : struct, ICount
            where TCount : struct, ICount
        {
            int w = TSimd.Width, bytesAhead = asks ? TCount.Value * w * TSource.Size : 0;
            float* o = sums;
            float* o1 = TRowCount.Value > 1 ? o + width : o;
            TVector a0 = TSimd.Load(o), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
            TVector b0 = TSimd.Load(o1), b1 = b0, b2 = b0, b3 = b0, b4 = b0, b5 = b0, b6 = b0, b7 = b0;
            if (TCount.Value > 1)
            {
                (a1, a2, a3) = (TSimd.Load(o + w), TSimd.Load(o + 2 * w), TSimd.Load(o + 3 * w));
                (b1, b2, b3) = (TSimd.Load(o1 + w), TSimd.Load(o1 + 2 * w), TSimd.Load(o1 + 3 * w));
            }
            if (TCount.Value > 4)
            {
                (a4, a5, a6, a7) = (TSimd.Load(o + 4 * w), TSimd.Load(o + 5 * w), TSimd.Load(o + 6 * w), TSimd.Load(o + 7 * w));
                (b4, b5, b6, b7) = (TSimd.Load(o1 + 4 * w), TSimd.Load(o1 + 5 * w), TSimd.Load(o1 + 6 * w), TSimd.Load(o1 + 7 * w));
            }
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j++)
            {
                byte* values = rows[j];
                Ask(rows[j + Ahead] + column * TSource.Size, bytesAhead);
                TVector x = TSimd.Broadcast(p[j]), y = x;
                if (TRowCount.Value > 1) y = TSimd.Broadcast(p[ScoreStride + j]);
                TVector v = Load<TSource>(values, column, ref seen);
                AddTo<TRowCount>(x, y, v, ref a0, ref b0);
                if (TCount.Value > 1)
                {
                    v = Load<TSource>(values, column + w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a1, ref b1);
                    v = Load<TSource>(values, column + 2 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a2, ref b2);
                    v = Load<TSource>(values, column + 3 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a3, ref b3);
                }
                if (TCount.Value > 4)
                {
                    v = Load<TSource>(values, column + 4 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a4, ref b4);
                    v = Load<TSource>(values, column + 5 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a5, ref b5);
                    v = Load<TSource>(values, column + 6 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a6, ref b6);
                    v = Load<TSource>(values, column + 7 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a7, ref b7);
                }
            }
            if (!TSource.IsTrusted(seen))
                return false;
            StoreFour<TCount>(o, a0, a1, a2, a3);
            if (TCount.Value > 4)
                StoreFour<TCount>(o + 4 * w, a4, a5, a6, a7);
            if (TRowCount.Value > 1)
                StoreFour<TCount>(o1, b0, b1, b2, b3);
            if (TRowCount.Value > 1 && TCount.Value > 4)
                StoreFour<TCount>(o1 + 4 * w, b4, b5, b6, b7);
            return true;
        }

        // Adds v times each row's weight to that row's sum.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void AddTo<TRowCount>(TVector x, TVector y, TVector v, ref TVector a, ref TVector b) where TRowCount : struct, ICount
        {
            a = TSimd.MultiplyAdd(x, v, a);
            if (TRowCount.Value > 1) b = TSimd.MultiplyAdd(y, v, b);
        }

        // Four rows; one or four vectors of each stay in registers.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool AddFour<TSource, TCount>(float* p, byte** rows, int count, long column, bool asks, float* sums, int width)
            where TSource : struct, ISource<TVector>
            where TCount : struct, ICount
        {
            int w = TSimd.Width, bytesAhead = asks ? TCount.Value * w * TSource.Size : 0;
            float* o = sums, o1 = o + width, o2 = o1 + width, o3 = o2 + width;
            float* p1 = p + ScoreStride, p2 = p1 + ScoreStride, p3 = p2 + ScoreStride;
            TVector a0 = TSimd.Load(o), a1 = a0, a2 = a0, a3 = a0, b0 = TSimd.Load(o1), b1 = b0, b2 = b0, b3 = b0;
            TVector c0 = TSimd.Load(o2), c1 = c0, c2 = c0, c3 = c0, d0 = TSimd.Load(o3), d1 = d0, d2 = d0, d3 = d0;
            if (TCount.Value > 1)
            {
                (a1, a2, a3) = (TSimd.Load(o + w), TSimd.Load(o + 2 * w), TSimd.Load(o + 3 * w));
                (b1, b2, b3) = (TSimd.Load(o1 + w), TSimd.Load(o1 + 2 * w), TSimd.Load(o1 + 3 * w));
                (c1, c2, c3) = (TSimd.Load(o2 + w), TSimd.Load(o2 + 2 * w), TSimd.Load(o2 + 3 * w));
                (d1, d2, d3) = (TSimd.Load(o3 + w), TSimd.Load(o3 + 2 * w), TSimd.Load(o3 + 3 * w));
            }
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j++)
            {
                byte* values = rows[j];
                TVector x = TSimd.Broadcast(p[j]), y = TSimd.Broadcast(p1[j]), z = TSimd.Broadcast(p2[j]), u = TSimd.Broadcast(p3[j]);
                Ask(rows[j + Ahead] + column * TSource.Size, bytesAhead);
                TVector v = Load<TSource>(values, column, ref seen);
                a0 = TSimd.MultiplyAdd(x, v, a0);
                b0 = TSimd.MultiplyAdd(y, v, b0);
                c0 = TSimd.MultiplyAdd(z, v, c0);
                d0 = TSimd.MultiplyAdd(u, v, d0);
                if (TCount.Value > 1)
                {
                    v = Load<TSource>(values, column + w, ref seen);
                    a1 = TSimd.MultiplyAdd(x, v, a1);
                    b1 = TSimd.MultiplyAdd(y, v, b1);
                    c1 = TSimd.MultiplyAdd(z, v, c1);
                    d1 = TSimd.MultiplyAdd(u, v, d1);
                    v = Load<TSource>(values, column + 2 * w, ref seen);
                    a2 = TSimd.MultiplyAdd(x, v, a2);
                    b2 = TSimd.MultiplyAdd(y, v, b2);
                    c2 = TSimd.MultiplyAdd(z, v, c2);
                    d2 = TSimd.MultiplyAdd(u, v, d2);
                    v = Load<TSource>(values, column + 3 * w, ref seen);
                    a3 = TSimd.MultiplyAdd(x, v, a3);
                    b3 = TSimd.MultiplyAdd(y, v, b3);
                    c3 = TSimd.MultiplyAdd(z, v, c3);
                    d3 = TSimd.MultiplyAdd(u, v, d3);
                }
            }
            if (!TSource.IsTrusted(seen))
                return false;
            StoreFour<TCount>(o, a0, a1, a2, a3);
            StoreFour<TCount>(o1, b0, b1, b2, b3);
            StoreFour<TCount>(o2, c0, c1, c2, c3);
            StoreFour<TCount>(o3, d0, d1, d2, d3);
            return true;
        }

        // The first vector, and three more unless TCount is one.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void StoreFour<TCount>(float* o, TVector v0, TVector v1, TVector v2, TVector v3) where TCount : struct, ICount
        {
            int w = TSimd.Width;
            TSimd.Store(v0, o);
            if (TCount.Value > 1)
            {
                TSimd.Store(v1, o + w);
                TSimd.Store(v2, o + 2 * w);
                TSimd.Store(v3, o + 3 * w);
            }
        }
    }
}
