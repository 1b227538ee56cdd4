using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

// Products of query rows and keys, and their softmax.
public sealed unsafe partial class FlashDecode<TSimd, TVector>
{
    private partial struct Body
    {
        // Scores of up to four rows, and their softmax: afterwards the scores are weights of the values.
        private readonly void ScoreQuad<TSource, TCareful>(in Unit unit, int key0, int row0, int rows, float* state, in Scratch scratch)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            int low = BlockN, high = 0;
            for (int row = row0; row < row0 + rows; row++)
            {
                ref RowKeys keys = ref scratch.Rows[row];
                if (keys.Low < keys.High)
                    (low, high) = (Math.Min(low, keys.Low), Math.Max(high, keys.High));
            }
            if (low >= high)
                return;
            float* scores = scratch.Scores + (long)row0 * ScoreStride;
            Score<TSource, TCareful>(
                scratch.Queries + (long)row0 * Plan.QueryWidth, rows, scratch.Keys + low, high - low, Problem.HeadDim, Plan.QueryWidth,
                asks: row0 == 0, scores + low);
            bool hasScales = Problem.KvType == DataType.Int8, hasTransform = Problem.HasScoreTransform;
            bool mayHide = Problem.BiasShape != 0 || Problem.MaskShape != 0 || Problem.MaskBlock > 0 || Problem.Has(AttentionOperands.SlotBias);
            float* maxima = state + (long)Plan.Rows * Plan.ValueWidth, totals = maxima + Plan.Rows;
            for (int row = row0; row < row0 + rows; row++, scores += ScoreStride)
            {
                ref RowKeys keys = ref scratch.Rows[row];
                if (keys.Low >= keys.High)
                    continue;
                if (hasScales)
                    Multiply(scores, scratch.KeyScales, keys.High);
                if (hasTransform)
                    scratch.Transforms[row % Problem.GroupSize].Apply(QueryOf(unit, row), key0, keys.High, scores);
                if (keys.GapLow < keys.GapHigh)
                    new Span<float>(scores + keys.GapLow, keys.GapHigh - keys.GapLow).Fill(float.NegativeInfinity);
                float before = maxima[row];
                int end = keys.High;
                if (mayHide || keys.GapLow < keys.GapHigh)
                    FindHidden(scores, ref keys);
                if (keys.Low < keys.High)
                {
                    AttentionRow<TSimd, TVector>.Update(
                        scores + keys.Low, keys.High - keys.Low, ref maxima[row], ref totals[row], state + (long)row * Plan.ValueWidth,
                        Plan.ValueWidth);
                }
                if (Kept != null)
                    KeepWeights(unit, row, key0, scores, end, before, maxima[row], ref keys);
                if (keys.Low >= keys.High)
                    continue;
                if (hasScales)
                    Multiply(scores, scratch.ValueScales, keys.High);
            }
        }

        // Notes which keys have a score above −∞: the values of the others, which may be NaN, must not be touched.
        private static void FindHidden(float* scores, ref RowKeys keys)
        {
            TVector hidden = TSimd.Broadcast(float.NegativeInfinity);
            int count = 0;
            for (int word = 0; word < SeenWords; word++)
            {
                ulong seen = 0, lanes = (1ul << TSimd.Width) - 1;
                for (int j = 0; j < 64; j += TSimd.Width)
                    seen |= (~TSimd.EqualMask(TSimd.Load(scores + 64 * word + j), hidden) & lanes) << j;
                seen &= Between(keys.Low - 64 * word, keys.High - 64 * word);
                count += BitOperations.PopCount(seen);
                keys.Seen[word] = seen;
            }
            keys.IsPartial = count < keys.High - keys.Low;
            if (count == 0)
                keys.High = keys.Low;
        }

        // Bits low .. high − 1, of those from 0 to 63.
        private static ulong Between(int low, int high) => Below(high) & ~Below(low);

        private static ulong Below(int bit) => bit <= 0 ? 0 : bit >= 64 ? ulong.MaxValue : (1ul << bit) - 1;

        private static void Multiply(float* row, float* factors, int count)
        {
            for (int j = 0; j < count; j += TSimd.Width)
                TSimd.Store(TSimd.Multiply(TSimd.Load(row + j), TSimd.Load(factors + j)), row + j);
        }

        // scores[r, j] = q_r · k_j. A quad of three is done as one of four: the fourth query row is 0.
        private static void Score<TSource, TCareful>(
            float* q, int rows, byte** keys, int count, int size, int width, bool asks, float* scores)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            if (size < TSimd.Width)
                ScoreNarrow<TCareful>(q, rows, keys, count, size, width, scores);
            else if (!ScoreRows<TSource>(q, rows, keys, count, size, width, asks ? size * TSource.Size : 0, scores))
                ScoreRows<TCareful>(q, rows, keys, count, size, width, 0, scores);
        }

        private static bool ScoreRows<TSource>(
            float* q, int rows, byte** keys, int count, int size, int width, int bytesAhead, float* scores)
            where TSource : struct, ISource<TVector> => rows switch
            {
                1 => ScoreOne<TSource>(q, keys, count, size, width, bytesAhead, scores),
                2 => ScoreTwo<TSource>(q, keys, count, size, width, bytesAhead, scores),
                _ => ScoreFour<TSource>(q, keys, count, size, width, bytesAhead, scores),
            };

        // Asks for a row that will be read, line after line: memory is fastest in its order.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Ask(byte* row, int bytes)
        {
            for (int at = 0; at < bytes; at += 64)
                Vectors.PrefetchFar(row + at);
        }

        // Two keys at a time halve the loads of queries.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool ScoreFour<TSource>(float* q, byte** keys, int count, int size, int width, int bytesAhead, float* scores)
            where TSource : struct, ISource<TVector>
        {
            int w = TSimd.Width;
            long last = size - w;
            float* q1 = q + width, q2 = q1 + width, q3 = q2 + width;
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j += 2)
            {
                byte* k = keys[j], l = keys[Math.Min(j + 1, count - 1)];
                Ask(keys[j + Ahead], bytesAhead);
                Ask(keys[j + Ahead + 1], bytesAhead);
                TVector s0 = TSimd.Zero, s1 = TSimd.Zero, s2 = TSimd.Zero, s3 = TSimd.Zero;
                TVector t0 = TSimd.Zero, t1 = TSimd.Zero, t2 = TSimd.Zero, t3 = TSimd.Zero;
                for (long c = 0; c < width; c += w)
                {
                    long at = Smaller(c, last);
                    TVector a = Load<TSource>(k, at, ref seen), b = Load<TSource>(l, at, ref seen), x = TSimd.Load(q + c);
                    s0 = TSimd.MultiplyAdd(x, a, s0);
                    t0 = TSimd.MultiplyAdd(x, b, t0);
                    x = TSimd.Load(q1 + c);
                    s1 = TSimd.MultiplyAdd(x, a, s1);
                    t1 = TSimd.MultiplyAdd(x, b, t1);
                    x = TSimd.Load(q2 + c);
                    s2 = TSimd.MultiplyAdd(x, a, s2);
                    t2 = TSimd.MultiplyAdd(x, b, t2);
                    x = TSimd.Load(q3 + c);
                    s3 = TSimd.MultiplyAdd(x, a, s3);
                    t3 = TSimd.MultiplyAdd(x, b, t3);
                }
                TSimd.StoreSums(s0, s1, s2, s3, t0, t1, t2, t3, scores + j, ScoreStride);
            }
            return TSource.IsTrusted(seen);
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool ScoreTwo<TSource>(float* q, byte** keys, int count, int size, int width, int bytesAhead, float* scores)
            where TSource : struct, ISource<TVector>
        {
            int w = TSimd.Width;
            long last = size - w;
            float* q1 = q + width;
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j += 2)
            {
                byte* k = keys[j], l = keys[Math.Min(j + 1, count - 1)];
                Ask(keys[j + Ahead], bytesAhead);
                Ask(keys[j + Ahead + 1], bytesAhead);
                TVector s0 = TSimd.Zero, s1 = TSimd.Zero, t0 = TSimd.Zero, t1 = TSimd.Zero;
                for (long c = 0; c < width; c += w)
                {
                    long at = Smaller(c, last);
                    TVector a = Load<TSource>(k, at, ref seen), b = Load<TSource>(l, at, ref seen), x = TSimd.Load(q + c);
                    s0 = TSimd.MultiplyAdd(x, a, s0);
                    t0 = TSimd.MultiplyAdd(x, b, t0);
                    x = TSimd.Load(q1 + c);
                    s1 = TSimd.MultiplyAdd(x, a, s1);
                    t1 = TSimd.MultiplyAdd(x, b, t1);
                }
                StorePairs(TSimd.SumFour(s0, t0, s1, t1), scores + j);
            }
            return TSource.IsTrusted(seen);
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool ScoreOne<TSource>(float* q, byte** keys, int count, int size, int width, int bytesAhead, float* scores)
            where TSource : struct, ISource<TVector>
        {
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j += 4)
            {
                for (int i = 0; i < 4; i++)
                    Ask(keys[j + Ahead + i], bytesAhead);
                TVector s0 = Dot<TSource>(q, keys[j], size, width, ref seen);
                TVector s1 = Dot<TSource>(q, keys[Math.Min(j + 1, count - 1)], size, width, ref seen);
                TVector s2 = Dot<TSource>(q, keys[Math.Min(j + 2, count - 1)], size, width, ref seen);
                TVector s3 = Dot<TSource>(q, keys[Math.Min(j + 3, count - 1)], size, width, ref seen);
                TSimd.SumFour(s0, s1, s2, s3).Store(scores + j);
            }
            return TSource.IsTrusted(seen);
        }

        // Lanes of q · k. One chain of sums a key: those of the keys around it fill the waits.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector Dot<TSource>(float* q, byte* key, int size, int width, ref TVector seen)
            where TSource : struct, ISource<TVector>
        {
            long last = size - TSimd.Width;
            TVector sum = TSimd.Zero;
            for (long c = 0; c < width; c += TSimd.Width)
            {
                long at = Smaller(c, last);
                sum = TSimd.MultiplyAdd(TSimd.Load(q + c), Load<TSource>(key, at, ref seen), sum);
            }
            return sum;
        }

        // Keys shorter than a vector.
        private static void ScoreNarrow<TSource>(float* q, int rows, byte** keys, int count, int size, int width, float* scores)
            where TSource : struct, ISource<TVector>
        {
            for (int r = 0; r < rows; r++)
            {
                for (int j = 0; j < count; j++)
                {
                    float sum = 0f;
                    for (int c = 0; c < size; c++)
                        sum += q[r * width + c] * TSource.LoadOne(keys[j], c);
                    scores[r * ScoreStride + j] = sum;
                }
            }
        }

        // Math.Min compiles to two jumps in each round.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static long Smaller(long a, long b) => b + ((a - b) & ((a - b) >> 63));

        // The lower two lanes to one row of scores, the upper two to the next.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void StorePairs(Vector128<float> pairs, float* scores)
        {
            *(double*)scores = pairs.AsDouble().ToScalar();
            *(double*)(scores + ScoreStride) = pairs.AsDouble().GetElement(1);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector Load<TSource>(byte* row, long index, ref TVector seen) where TSource : struct, ISource<TVector>
        {
            TVector loaded = TSource.Load(row, index);
            seen = TSource.Watch(seen, loaded);
            return loaded;
        }
    }
}
