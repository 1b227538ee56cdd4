using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Attention of a few query rows over a long cache, the keys split over groups (Dao et al. 2023, "Flash-Decoding for
/// long-context inference"). The query rows that share a key/value head are packed, row r standing for query r / groupSize and
/// head r mod groupSize of the group, so that keys and values are read once for up to 8 of them.
/// <code>
/// for each block of 64 keys:  s = scale · q · k    m' = max(m, s)    p = 2^(s − m')    o = 2^(m − m') · o + p · v
/// </code>
/// One group of 64 threads has one range of keys. For the scores a thread has one key, which arrives through shared memory in
/// pieces of 32 columns; for the values threads stand side by side along a row and share the keys out. With one split the
/// output is written, else each split's normalised output and base-2 log-sum-exp, float32, for <see cref="MergePartialStates"/>.
/// Shared memory: 8 KiB + 1.25 KiB a row + 0.25 KiB.
/// </summary>
internal static class FlashDecode
{
    /// <summary>Threads of a group, and keys of a block.</summary>
    public const int Threads = 64;

    /// <summary>Longest head dim and value dim.</summary>
    public const int MaxHeadDim = 256;

    private const int DepthQuads = 8;

    /// <summary>The arguments.</summary>
    internal struct Parameters<TQuery, TKv> where TQuery : unmanaged where TKv : unmanaged
    {
        public TokenTensor<TQuery> Query;       // [batchSize, queryLength, numHeads, headDim]
        public TokenTensor<TKv> Key;            // [batchSize, kvLength, numKvHeads, headDim]
        public TokenTensor<TKv> Value;          // [batchSize, kvLength, numKvHeads, valueHeadDim]
        public TokenTensor<TQuery> Output;      // [batchSize, queryLength, numHeads, valueHeadDim]
        public ArrayView<float> Lse;            // [batchSize, numHeads, queryLength], natural log
        public long LseBatchStride, LseHeadStride;
        public int HasLse, IsCausal;
        public int BatchSize, NumHeads, NumKvHeads, GroupSize, QueryLength, KvLength, HeadDim, ValueHeadDim;
        public int RowBlocks, NumSplits, KeysPerSplit;
        public int ValueShift;                  // log2 of the threads along a value row: 4, 5 or 6
        public float SoftmaxScaleLog2;          // softmaxScale · log2 e
        public ArrayView<float> PartialOutput;  // [numSplits, batchSize, numHeads, queryLength, valueHeadDim]
        public ArrayView<float> PartialLse;     // [numSplits, batchSize, numHeads, queryLength], base 2
    }

    /// <summary>The kernel; one group for each split of each block of rows of each key/value head of each sequence.</summary>
    public static void FlashDecodeSplitKv<TTile, TQuery, TQueryStorage, TKv, TKvStorage>(Parameters<TQuery, TKv> p)
        where TTile : struct, IDecodeTile
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        ArrayView<Float4> queries = SharedMemory.Allocate<Float4>(TTile.Rows * MaxHeadDim / 4);
        ArrayView<Float4> tile = SharedMemory.Allocate<Float4>(DepthQuads * Threads);
        ArrayView<float> scores = SharedMemory.Allocate<float>(TTile.Rows * Threads);
        ArrayView<Float4> partialMax = SharedMemory.Allocate<Float4>(Threads / 4);
        int thread = Group.IdxX;
        int split = Grid.IdxX % p.NumSplits, rest = Grid.IdxX / p.NumSplits;
        int row0 = rest % p.RowBlocks * TTile.Rows;
        int kvHead = rest / p.RowBlocks % p.NumKvHeads, batch = rest / p.RowBlocks / p.NumKvHeads;
        int rowCount = p.GroupSize * p.QueryLength;
        int lastRow = row0 + TTile.Rows - 1 < rowCount ? row0 + TTile.Rows - 1 : rowCount - 1;
        int fullyVisible = VisibleKeys(ref p, row0 / p.GroupSize), visible = VisibleKeys(ref p, lastRow / p.GroupSize);
        int kvBegin = split * p.KeysPerSplit;
        int kvEnd = visible - kvBegin < p.KeysPerSplit ? visible : kvBegin + p.KeysPerSplit;

        LoadQueries<TTile, TQuery, TQueryStorage, TKv>(ref p, queries, batch, kvHead, row0, rowCount);
        var max = Rows8.Broadcast(float.NegativeInfinity);
        var sum = default(Rows8);
        var output = default(OutputRows);
        for (int key0 = kvBegin; key0 < kvEnd; key0 += Threads)
        {
            Rows8 score = Scores<TTile, TQuery, TKv, TKvStorage>(ref p, queries, tile, batch, kvHead, key0, kvEnd);
            score = Rows8.Multiply(score, Rows8.Broadcast(p.SoftmaxScaleLog2));
            bool isBoundary = key0 + Threads > fullyVisible || key0 + Threads > kvEnd;
            if (isBoundary)
                Mask<TTile, TQuery, TKv>(ref p, ref score, row0, key0 + thread, kvEnd);

            Rows8 newMax = Rows8.Max(max, BlockMax<TTile>(scores, partialMax, ref score));
            Rows8 shift = Rows8.FiniteOrZero(newMax);
            Rows8 rescale = Rows8.Exp2Difference(max, shift);
            score = Rows8.Exp2Difference(score, shift);
            max = newMax;
            sum = Rows8.Add(Rows8.Multiply(sum, rescale), score);
            output.Scale(rescale);
            Store<TTile>(scores, ref score);
            Group.Barrier();
            int keys = kvEnd - key0 < Threads ? kvEnd - key0 : Threads;
            AddValues<TTile, TQuery, TKv, TKvStorage>(ref p, scores, batch, kvHead, key0, keys, isBoundary, ref output);
            Group.Barrier();
        }
        Rows8 total = BlockSum<TTile>(scores, ref sum);
        StoreOutput<TTile, TQuery, TQueryStorage, TKv>(ref p, tile, ref output, total, max, batch, kvHead, row0, rowCount, split);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int VisibleKeys<TQuery, TKv>(ref Parameters<TQuery, TKv> p, int query) where TQuery : unmanaged where TKv : unmanaged
    {
        int visible = p.IsCausal != 0 ? query + 1 - p.QueryLength + p.KvLength : p.KvLength;
        return visible > 0 ? visible : 0;
    }

    // Rows past the last one are zeros; so are columns up to the next multiple of 32.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadQueries<TTile, TQuery, TQueryStorage, TKv>(
        ref Parameters<TQuery, TKv> p, ArrayView<Float4> queries, int batch, int kvHead, int row0, int rowCount)
        where TTile : struct, IDecodeTile
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged
    {
        for (int i = Group.IdxX; i < TTile.Rows * MaxHeadDim / 4; i += Threads)
        {
            int row = row0 + i / (MaxHeadDim / 4), column = 4 * (i % (MaxHeadDim / 4));
            int valid = row < rowCount ? p.HeadDim - column : 0;
            long offset = p.Query.Offset(batch, row / p.GroupSize, kvHead * p.GroupSize + row % p.GroupSize);
            queries[i] = Quads.Load<TQuery, TQueryStorage>(p.Query.Data, offset + column, valid, p.Query.HasQuads);
        }
    }

    // The dot products of this thread's key with every row. Quad c of key k lies at c · 64 + (k ^ c): stores and loads of a
    // group touch all banks.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Rows8 Scores<TTile, TQuery, TKv, TKvStorage>(
        ref Parameters<TQuery, TKv> p, ArrayView<Float4> queries, ArrayView<Float4> tile, int batch, int kvHead, int key0, int kvEnd)
        where TTile : struct, IDecodeTile
        where TQuery : unmanaged
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        var score = default(Rows8);
        long offset = p.Key.Offset(batch, key0, kvHead);
        for (int depth0 = 0; depth0 < p.HeadDim; depth0 += 4 * DepthQuads)
        {
            for (int i = Group.IdxX; i < DepthQuads * Threads; i += Threads)
            {
                int quad = i & (DepthQuads - 1), key = i >> 3;
                int valid = key0 + key < kvEnd ? p.HeadDim - depth0 - 4 * quad : 0;
                tile[quad * Threads + (key ^ quad)] = Quads.Load<TKv, TKvStorage>(
                    p.Key.Data, offset + key * p.Key.TokenStride + depth0 + 4 * quad, valid, p.Key.HasQuads);
            }
            Group.Barrier();
            int columns = p.HeadDim - depth0;
            for (int quad = 0; quad < DepthQuads && 4 * quad < columns; quad++)
            {
                Float4 key = tile[quad * Threads + (Group.IdxX ^ quad)];
                int query = depth0 / 4 + quad;
                score.Row0 += Float4.Dot(queries[query], key);
                if (TTile.Rows > 1)
                {
                    score.Row1 += Float4.Dot(queries[query + MaxHeadDim / 4], key);
                    score.Row2 += Float4.Dot(queries[query + 2 * MaxHeadDim / 4], key);
                    score.Row3 += Float4.Dot(queries[query + 3 * MaxHeadDim / 4], key);
                }
                if (TTile.Rows > 4)
                {
                    score.Row4 += Float4.Dot(queries[query + 4 * MaxHeadDim / 4], key);
                    score.Row5 += Float4.Dot(queries[query + 5 * MaxHeadDim / 4], key);
                    score.Row6 += Float4.Dot(queries[query + 6 * MaxHeadDim / 4], key);
                    score.Row7 += Float4.Dot(queries[query + 7 * MaxHeadDim / 4], key);
                }
            }
            Group.Barrier();
        }
        return score;
    }

    // A selection, not an addition of −∞: a hidden key may hold NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mask<TTile, TQuery, TKv>(ref Parameters<TQuery, TKv> p, ref Rows8 score, int row, int key, int kvEnd)
        where TTile : struct, IDecodeTile where TQuery : unmanaged where TKv : unmanaged
    {
        score.Row0 = MaskOne(ref p, score.Row0, row, key, kvEnd);
        if (TTile.Rows > 1)
        {
            score.Row1 = MaskOne(ref p, score.Row1, row + 1, key, kvEnd);
            score.Row2 = MaskOne(ref p, score.Row2, row + 2, key, kvEnd);
            score.Row3 = MaskOne(ref p, score.Row3, row + 3, key, kvEnd);
        }
        if (TTile.Rows > 4)
        {
            score.Row4 = MaskOne(ref p, score.Row4, row + 4, key, kvEnd);
            score.Row5 = MaskOne(ref p, score.Row5, row + 5, key, kvEnd);
            score.Row6 = MaskOne(ref p, score.Row6, row + 6, key, kvEnd);
            score.Row7 = MaskOne(ref p, score.Row7, row + 7, key, kvEnd);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float MaskOne<TQuery, TKv>(ref Parameters<TQuery, TKv> p, float score, int row, int key, int kvEnd)
        where TQuery : unmanaged where TKv : unmanaged =>
        key < kvEnd && key < VisibleKeys(ref p, row / p.GroupSize) ? score : float.NegativeInfinity;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TTile>(ArrayView<float> scores, ref Rows8 values) where TTile : struct, IDecodeTile
    {
        int thread = Group.IdxX;
        scores[thread] = values.Row0;
        if (TTile.Rows > 1)
        {
            scores[thread + Threads] = values.Row1;
            scores[thread + 2 * Threads] = values.Row2;
            scores[thread + 3 * Threads] = values.Row3;
        }
        if (TTile.Rows > 4)
        {
            scores[thread + 4 * Threads] = values.Row4;
            scores[thread + 5 * Threads] = values.Row5;
            scores[thread + 6 * Threads] = values.Row6;
            scores[thread + 7 * Threads] = values.Row7;
        }
    }

    // Of Rows · 64 scores each thread takes the maximum of Rows neighbours; the 64 results, 64 / Rows a row, are read by all.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Rows8 BlockMax<TTile>(ArrayView<float> scores, ArrayView<Float4> partialMax, ref Rows8 score) where TTile : struct, IDecodeTile
    {
        Store<TTile>(scores, ref score);
        Group.Barrier();
        float max = float.NegativeInfinity;
        for (int i = 0; i < TTile.Rows; i++)
        {
            float value = scores[Group.IdxX * TTile.Rows + i];
            max = value > max ? value : max;
        }
        partialMax.Cast<float>()[Group.IdxX] = max;
        Group.Barrier();
        var result = Rows8.Broadcast(float.NegativeInfinity);
        int quads = Threads / 4 / TTile.Rows;
        result.Row0 = MaxOfQuads(partialMax, 0, quads);
        if (TTile.Rows > 1)
        {
            result.Row1 = MaxOfQuads(partialMax, quads, quads);
            result.Row2 = MaxOfQuads(partialMax, 2 * quads, quads);
            result.Row3 = MaxOfQuads(partialMax, 3 * quads, quads);
        }
        if (TTile.Rows > 4)
        {
            result.Row4 = MaxOfQuads(partialMax, 4 * quads, quads);
            result.Row5 = MaxOfQuads(partialMax, 5 * quads, quads);
            result.Row6 = MaxOfQuads(partialMax, 6 * quads, quads);
            result.Row7 = MaxOfQuads(partialMax, 7 * quads, quads);
        }
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float MaxOfQuads(ArrayView<Float4> values, int first, int count)
    {
        Float4 max = values[first];
        for (int i = 1; i < count; i++)
            max = Float4.Max(max, values[first + i]);
        return Float4.MaxAcross(max);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Rows8 BlockSum<TTile>(ArrayView<float> scores, ref Rows8 sum) where TTile : struct, IDecodeTile
    {
        Store<TTile>(scores, ref sum);
        Group.Barrier();
        var total = default(Rows8);
        for (int i = 0; i < Threads; i++)
        {
            total.Row0 += scores[i];
            if (TTile.Rows > 1)
            {
                total.Row1 += scores[i + Threads];
                total.Row2 += scores[i + 2 * Threads];
                total.Row3 += scores[i + 3 * Threads];
            }
            if (TTile.Rows > 4)
            {
                total.Row4 += scores[i + 4 * Threads];
                total.Row5 += scores[i + 5 * Threads];
                total.Row6 += scores[i + 6 * Threads];
                total.Row7 += scores[i + 7 * Threads];
            }
        }
        return total;
    }

    // Thread t has column quad t mod w of the keys t / w, t / w + 64 / w, ... where w = 2^ValueShift.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddValues<TTile, TQuery, TKv, TKvStorage>(
        ref Parameters<TQuery, TKv> p, ArrayView<float> weights, int batch, int kvHead, int key0, int keys, bool isBoundary, ref OutputRows output)
        where TTile : struct, IDecodeTile
        where TQuery : unmanaged
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        int column = 4 * (Group.IdxX & ((1 << p.ValueShift) - 1)), step = Threads >> p.ValueShift;
        int valid = p.ValueHeadDim - column;
        long offset = p.Value.Offset(batch, key0, kvHead) + column;
        if (isBoundary && p.IsCausal != 0)
        {
            // The value of a key that one row sees and another does not may be NaN, and 0 · NaN is NaN.
            for (int key = Group.IdxX >> p.ValueShift; key < keys; key += step)
            {
                Float4 value = Quads.Load<TKv, TKvStorage>(p.Value.Data, offset + key * p.Value.TokenStride, valid, p.Value.HasQuads);
                output.Row0 = Float4.MultiplyAddSkippingZero(weights[key], value, output.Row0);
                if (TTile.Rows > 1)
                {
                    output.Row1 = Float4.MultiplyAddSkippingZero(weights[key + Threads], value, output.Row1);
                    output.Row2 = Float4.MultiplyAddSkippingZero(weights[key + 2 * Threads], value, output.Row2);
                    output.Row3 = Float4.MultiplyAddSkippingZero(weights[key + 3 * Threads], value, output.Row3);
                }
                if (TTile.Rows > 4)
                {
                    output.Row4 = Float4.MultiplyAddSkippingZero(weights[key + 4 * Threads], value, output.Row4);
                    output.Row5 = Float4.MultiplyAddSkippingZero(weights[key + 5 * Threads], value, output.Row5);
                    output.Row6 = Float4.MultiplyAddSkippingZero(weights[key + 6 * Threads], value, output.Row6);
                    output.Row7 = Float4.MultiplyAddSkippingZero(weights[key + 7 * Threads], value, output.Row7);
                }
            }
        }
        else
        {
            for (int key = Group.IdxX >> p.ValueShift; key < keys; key += step)
            {
                Float4 value = Quads.Load<TKv, TKvStorage>(p.Value.Data, offset + key * p.Value.TokenStride, valid, p.Value.HasQuads);
                output.Row0 = Float4.MultiplyAdd(weights[key], value, output.Row0);
                if (TTile.Rows > 1)
                {
                    output.Row1 = Float4.MultiplyAdd(weights[key + Threads], value, output.Row1);
                    output.Row2 = Float4.MultiplyAdd(weights[key + 2 * Threads], value, output.Row2);
                    output.Row3 = Float4.MultiplyAdd(weights[key + 3 * Threads], value, output.Row3);
                }
                if (TTile.Rows > 4)
                {
                    output.Row4 = Float4.MultiplyAdd(weights[key + 4 * Threads], value, output.Row4);
                    output.Row5 = Float4.MultiplyAdd(weights[key + 5 * Threads], value, output.Row5);
                    output.Row6 = Float4.MultiplyAdd(weights[key + 6 * Threads], value, output.Row6);
                    output.Row7 = Float4.MultiplyAdd(weights[key + 7 * Threads], value, output.Row7);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreOutput<TTile, TQuery, TQueryStorage, TKv>(
        ref Parameters<TQuery, TKv> p, ArrayView<Float4> scratch, ref OutputRows output, Rows8 total, Rows8 max,
        int batch, int kvHead, int row0, int rowCount, int split)
        where TTile : struct, IDecodeTile
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged
    {
        StoreRow<TQuery, TQueryStorage, TKv>(ref p, scratch, output.Row0, total.Row0, max.Row0, batch, kvHead, row0, rowCount, split);
        if (TTile.Rows > 1)
        {
            StoreRow<TQuery, TQueryStorage, TKv>(ref p, scratch, output.Row1, total.Row1, max.Row1, batch, kvHead, row0 + 1, rowCount, split);
            StoreRow<TQuery, TQueryStorage, TKv>(ref p, scratch, output.Row2, total.Row2, max.Row2, batch, kvHead, row0 + 2, rowCount, split);
            StoreRow<TQuery, TQueryStorage, TKv>(ref p, scratch, output.Row3, total.Row3, max.Row3, batch, kvHead, row0 + 3, rowCount, split);
        }
        if (TTile.Rows > 4)
        {
            StoreRow<TQuery, TQueryStorage, TKv>(ref p, scratch, output.Row4, total.Row4, max.Row4, batch, kvHead, row0 + 4, rowCount, split);
            StoreRow<TQuery, TQueryStorage, TKv>(ref p, scratch, output.Row5, total.Row5, max.Row5, batch, kvHead, row0 + 5, rowCount, split);
            StoreRow<TQuery, TQueryStorage, TKv>(ref p, scratch, output.Row6, total.Row6, max.Row6, batch, kvHead, row0 + 6, rowCount, split);
            StoreRow<TQuery, TQueryStorage, TKv>(ref p, scratch, output.Row7, total.Row7, max.Row7, batch, kvHead, row0 + 7, rowCount, split);
        }
    }

    // Adds the threads' shares of one row and writes it. All threads of the group come here.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<TQuery, TQueryStorage, TKv>(
        ref Parameters<TQuery, TKv> p, ArrayView<Float4> scratch, Float4 share, float total, float max,
        int batch, int kvHead, int row, int rowCount, int split)
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged
    {
        int thread = Group.IdxX, width = 1 << p.ValueShift;
        scratch[thread] = share;
        Group.Barrier();
        if (row < rowCount && thread < width)
        {
            Float4 sum = scratch[thread];
            for (int i = thread + width; i < Threads; i += width)
                sum = Float4.Add(sum, scratch[i]);
            sum = Float4.Scale(sum, total == 0f ? 0f : 1f / total); // not "total > 0": a NaN must stay one
            int query = row / p.GroupSize, head = kvHead * p.GroupSize + row % p.GroupSize;
            int valid = p.ValueHeadDim - 4 * thread;
            float lseLog2 = total == 0f ? float.NegativeInfinity : (max == float.NegativeInfinity ? 0f : max) + XMath.Log2(total);
            if (p.NumSplits == 1)
            {
                Quads.Store<TQuery, TQueryStorage>(
                    p.Output.Data, p.Output.Offset(batch, query, head) + 4 * thread, valid, p.Output.HasQuads, sum);
                if (p.HasLse != 0 && thread == 0)
                    p.Lse[batch * p.LseBatchStride + head * p.LseHeadStride + query] = lseLog2 * MergePartialStates.Ln2;
            }
            else
            {
                long rows = (long)p.BatchSize * p.NumHeads * p.QueryLength;
                long index = split * rows + ((long)batch * p.NumHeads + head) * p.QueryLength + query;
                Quads.Store<float, Float32Storage>(p.PartialOutput, index * p.ValueHeadDim + 4 * thread, valid, 0, sum);
                if (thread == 0)
                    p.PartialLse[index] = lseLog2;
            }
        }
        Group.Barrier();
    }

    // One output quad of each row.
    private struct OutputRows
    {
        public Float4 Row0, Row1, Row2, Row3, Row4, Row5, Row6, Row7;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Scale(Rows8 factors)
        {
            Row0 = Float4.Scale(Row0, factors.Row0);
            Row1 = Float4.Scale(Row1, factors.Row1);
            Row2 = Float4.Scale(Row2, factors.Row2);
            Row3 = Float4.Scale(Row3, factors.Row3);
            Row4 = Float4.Scale(Row4, factors.Row4);
            Row5 = Float4.Scale(Row5, factors.Row5);
            Row6 = Float4.Scale(Row6, factors.Row6);
            Row7 = Float4.Scale(Row7, factors.Row7);
        }
    }
}
