using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Tiled attention with an online softmax and every option: windows, sinks, chunks, soft cap, linear bias, bias, masks, ragged
/// sequences, pages, i8 keys and values. <see cref="FlashForward"/> and <see cref="FlashDecode"/> compute plain problems faster.
/// <code>
/// for each block of keys that a row sees:    s = transform(scale · q · k)    m' = max(m, s)    p = exp(s − m')
///                                            l = exp(m − m') · l + Σ p       o = exp(m − m') · o + p · v
/// </code>
/// The query rows that share a key/value head are packed, row r standing for query r / groupSize and head r mod groupSize of
/// the group. One group computes 4 · ThreadsY rows over one range of key blocks, 4 · ThreadsX keys each; blocks that no row
/// sees are never read. With more than one range the target is float32 scratch for <see cref="MergePartialStates"/>. A block
/// begins with its keys' addresses, one a thread, so that pages cost one look-up a key. Scores are transformed one after
/// another in a loop over shared memory: the options are compiled once, not once for each of a thread's 16 scores.
/// Shared memory: 128 · (BlockM + BlockN) + 4 · BlockM · BlockN + 24 · BlockN + 32 · BlockM bytes.
/// </summary>
internal static class GeneralAttention
{
    // Quads of the longest value row.
    private const int ColumnQuads = 64;

    /// <summary>The arguments.</summary>
    internal struct Parameters<TKv> where TKv : unmanaged
    {
        public TypedTensor Query;           // [batchSize, queryLength, numHeads, headDim]
        public TokenTensor<TKv> Key;        // [batchSize, kvLength, numKvHeads, headDim], or pages
        public TokenTensor<TKv> Value;      // [batchSize, kvLength, numKvHeads, valueHeadDim], or pages
        public TypedTensor Target;          // the output, or [numSplits, batchSize, numHeads, queryLength, valueHeadDim] as float32
        public ArrayView<float> Lse;        // [batchSize, numHeads, queryLength], natural log; or [numSplits, ...], base 2
        public ArrayView<float> SinkLogits; // [numHeads]
        public ScoreParameters Scores;
        public CacheParameters Cache;
        public HeadEpilogue Epilogue;
        public long TargetSplitStride, LseSplitStride, LseBatchStride, LseHeadStride;
        public int HasLse, HasSinkLogits, HeadDim, ValueHeadDim, RowBlocks, NumSplits;
    }

    /// <summary>Shared memory of a group.</summary>
    public static int SharedBytes(int threadsX, int threadsY) =>
        16 * (TransposedTile.Depth * (threadsX + threadsY) + 4 * threadsX * threadsY) + (8 + 4) * 8 * threadsX
        + (8 + 4 * ScoreOptions.Fields) * 4 * threadsY;

    /// <summary>The kernel; one group for each split of each block of rows of each key/value head of each sequence.</summary>
    public static void FlashAttentionGeneral<TTile, TKv, TKvStorage>(Parameters<TKv> p)
        where TTile : struct, IGeneralTile
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        ArrayView<Float4> queryTile = SharedMemory.Allocate<Float4>(TransposedTile.Depth * TTile.ThreadsY);
        ArrayView<Float4> kvTile = SharedMemory.Allocate<Float4>(TransposedTile.Depth * TTile.ThreadsX);
        ArrayView<Float4> weights = SharedMemory.Allocate<Float4>(4 * TTile.ThreadsX * TTile.ThreadsY);
        ArrayView<long> keyOffsets = SharedMemory.Allocate<long>(8 * TTile.ThreadsX);   // of keys, then of values; −1: not there
        ArrayView<float> keyScales = SharedMemory.Allocate<float>(8 * TTile.ThreadsX);
        ArrayView<long> rowOffsets = SharedMemory.Allocate<long>(4 * TTile.ThreadsY);
        ArrayView<int> rows = SharedMemory.Allocate<int>(ScoreOptions.Fields * 4 * TTile.ThreadsY);
        int x = Group.IdxX % TTile.ThreadsX, y = Group.IdxX / TTile.ThreadsX;

        int split = Grid.IdxX % p.NumSplits, rest = Grid.IdxX / p.NumSplits;
        int block = p.RowBlocks - 1 - rest % p.RowBlocks; // the last rows see the most keys: they start first
        int kvHead = rest / p.RowBlocks % p.Scores.NumKvHeads;
        SequenceRows sequence = ScoreOptions.FindRows(ref p.Scores, block, kvHead, rest / p.RowBlocks / p.Scores.NumKvHeads, 4 * TTile.ThreadsY);
        if (p.Cache.HasLengths != 0)
            sequence.KvLength = p.Cache.Length(sequence.Batch, kvHead, sequence.KvLength);
        if (Group.IdxX < 4 * TTile.ThreadsY)
        {
            ScoreOptions.SetPackedRow(ref p.Scores, rows, Group.IdxX, ref sequence, sequence.FirstRow + Group.IdxX);
            int query = ScoreOptions.QueryOf(rows, Group.IdxX);
            rowOffsets[Group.IdxX] = query < 0
                ? -1 : p.Query.Offset(sequence.Batch, sequence.QueryStart + query, ScoreOptions.HeadOf(rows, Group.IdxX));
        }
        Group.Barrier();
        int blockN = 4 * TTile.ThreadsX;
        KeyBlocks blocks = ScoreOptions.FindBlocks(rows, 4 * TTile.ThreadsY, blockN);
        int blocksPerSplit = (blocks.Count + p.NumSplits - 1) / p.NumSplits;
        int lastBlock = (split + 1) * blocksPerSplit < blocks.Count ? (split + 1) * blocksPerSplit : blocks.Count;

        var output = default(OutputTile);
        var max = Float4.Broadcast(float.NegativeInfinity);
        Float4 sum = default;
        for (int i = split * blocksPerSplit; i < lastBlock; i++)
        {
            int key0 = blocks.At(i) * blockN;
            LoadKeyTable<TTile, TKv>(ref p, ref sequence, keyOffsets, keyScales, key0, blocks.KeyEnd);
            Group.Barrier();
            Tile4x4 scores = Scores<TTile, TKv, TKvStorage>(ref p, queryTile, kvTile, rowOffsets, keyOffsets, x, y);
            StoreScores<TTile>(weights, x, y, ref scores);
            TransformScores<TTile, TKv>(ref p, ref sequence, rows, keyScales, weights, queryTile.Cast<float>(), x, y, key0);
            Group.Barrier();
            Float4 newMax = max;
            for (int t = 0; t < TTile.ThreadsX; t++)
                newMax = Float4.Max(newMax, queryTile[t * TTile.ThreadsY + y]);
            Float4 shift = FiniteOrZero(newMax), rescale = ExpDifference(max, shift);
            max = newMax;
            sum = Float4.Add(Float4.Multiply(sum, rescale), Exponentiate<TTile>(weights, x, y, shift));
            output.ScaleRows(rescale);
            AddValues<TTile, TKv, TKvStorage>(ref p, weights, kvTile, keyOffsets, keyScales, x, y, blocks.KeyEnd - key0, ref output);
        }
        Finish<TTile, TKv>(ref p, ref sequence, rows, queryTile, weights, x, y, split, max, sum, ref output);
    }

    // One key a thread: where it and its value lie, and their scales.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadKeyTable<TTile, TKv>(
        ref Parameters<TKv> p, ref SequenceRows sequence, ArrayView<long> keyOffsets, ArrayView<float> keyScales, int key0, int keyEnd)
        where TTile : struct, IGeneralTile
        where TKv : unmanaged
    {
        int blockN = 4 * TTile.ThreadsX;
        for (int i = Group.IdxX; i < blockN; i += TTile.ThreadsX * TTile.ThreadsY)
        {
            long keyOffset = -1, valueOffset = -1;
            float keyScale = 1f, valueScale = 1f;
            if (key0 + i < keyEnd)
            {
                KeyPlace place = p.Cache.Find(ref sequence, key0 + i);
                keyOffset = p.Key.Offset(place.Batch, place.Token, place.Head);
                valueOffset = p.Value.Offset(place.Batch, place.Token, place.Head);
                if (p.Cache.HasScales != 0)
                {
                    keyScale = p.Cache.KeyScale[place.Batch * p.Cache.KeyScaleBatchStride + place.Head * p.Cache.KeyScaleHeadStride + place.Token];
                    valueScale = p.Cache.ValueScale[
                        place.Batch * p.Cache.ValueScaleBatchStride + place.Head * p.Cache.ValueScaleHeadStride + place.Token];
                }
            }
            keyOffsets[i] = keyOffset;
            keyOffsets[blockN + i] = valueOffset;
            keyScales[i] = keyScale;
            keyScales[blockN + i] = valueScale;
        }
    }

    // Q Kᵀ of one tile, 32 columns of the head dim at a time, both tiles stored as in TransposedTile.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Tile4x4 Scores<TTile, TKv, TKvStorage>(
        ref Parameters<TKv> p, ArrayView<Float4> queryTile, ArrayView<Float4> keyTile, ArrayView<long> rowOffsets, ArrayView<long> keyOffsets,
        int x, int y)
        where TTile : struct, IGeneralTile
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        int threads = TTile.ThreadsX * TTile.ThreadsY;
        var scores = default(Tile4x4);
        for (int depth0 = 0; depth0 < p.HeadDim; depth0 += TransposedTile.Depth)
        {
            int columns = p.HeadDim - depth0;
            for (int i = Group.IdxX; i < 8 * 4 * TTile.ThreadsY; i += threads)
            {
                int quad = i & 7, row = i >> 3;
                long offset = rowOffsets[row];
                Float4 value = p.Query.Load(offset + depth0 + 4 * quad, offset >= 0 ? columns - 4 * quad : 0);
                StoreTransposed(queryTile.Cast<float>(), 4 * TTile.ThreadsY, row, quad, value);
            }
            for (int i = Group.IdxX; i < 8 * 4 * TTile.ThreadsX; i += threads)
            {
                int quad = i & 7, key = i >> 3;
                long offset = keyOffsets[key];
                Float4 value = Quads.Load<TKv, TKvStorage>(
                    p.Key.Data, offset + depth0 + 4 * quad, offset >= 0 ? columns - 4 * quad : 0, p.Key.HasQuads);
                StoreTransposed(keyTile.Cast<float>(), 4 * TTile.ThreadsX, key, quad, value);
            }
            Group.Barrier();
            for (int quad = 0; quad < TransposedTile.Depth / 4 && 4 * quad < columns; quad++)
            {
                int query = 4 * quad * TTile.ThreadsY + (y ^ (quad & (TTile.ThreadsY - 1)));
                int key = 4 * quad * TTile.ThreadsX + (x ^ quad);
                scores.MultiplyAdd(queryTile[query], keyTile[key]);
                scores.MultiplyAdd(queryTile[query + TTile.ThreadsY], keyTile[key + TTile.ThreadsX]);
                scores.MultiplyAdd(queryTile[query + 2 * TTile.ThreadsY], keyTile[key + 2 * TTile.ThreadsX]);
                scores.MultiplyAdd(queryTile[query + 3 * TTile.ThreadsY], keyTile[key + 3 * TTile.ThreadsX]);
            }
            Group.Barrier();
        }
        return scores;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreTransposed(ArrayView<float> tile, int rows, int row, int quad, Float4 value)
    {
        int swizzle = quad & (rows / 4 - 1);
        int target = 4 * quad * rows + (((row >> 2) ^ swizzle) << 2) + (row & 3);
        tile[target] = value.X;
        tile[target + rows] = value.Y;
        tile[target + 2 * rows] = value.Z;
        tile[target + 3 * rows] = value.W;
    }

    // Row quad y of key 4 x + k. Row quads are spread over the banks.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int WeightOf<TTile>(int key, int y) where TTile : struct, IGeneralTile =>
        key * TTile.ThreadsY + (y ^ ((key >> 2) & (TTile.ThreadsY - 1)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreScores<TTile>(ArrayView<Float4> weights, int x, int y, ref Tile4x4 s) where TTile : struct, IGeneralTile
    {
        int at = WeightOf<TTile>(4 * x, y);
        weights[at] = new Float4(s.Row0.X, s.Row1.X, s.Row2.X, s.Row3.X);
        weights[at + TTile.ThreadsY] = new Float4(s.Row0.Y, s.Row1.Y, s.Row2.Y, s.Row3.Y);
        weights[at + 2 * TTile.ThreadsY] = new Float4(s.Row0.Z, s.Row1.Z, s.Row2.Z, s.Row3.Z);
        weights[at + 3 * TTile.ThreadsY] = new Float4(s.Row0.W, s.Row1.W, s.Row2.W, s.Row3.W);
    }

    // The thread's own 16 products become scores, −∞ where the row does not see the key: a selection, because a
    // hidden key may hold NaN. The thread's part of each row's maximum goes to partialMax.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransformScores<TTile, TKv>(
        ref Parameters<TKv> p, ref SequenceRows sequence, ArrayView<int> rows, ArrayView<float> keyScales, ArrayView<Float4> weights,
        ArrayView<float> partialMax, int x, int y, int key0)
        where TTile : struct, IGeneralTile
        where TKv : unmanaged
    {
        ArrayView<float> scores = weights.Cast<float>();
        for (int r = 0; r < 4; r++)
        {
            int slot = 4 * y + r;
            float max = float.NegativeInfinity;
            for (int k = 4 * x; k < 4 * x + 4; k++)
            {
                int at = 4 * WeightOf<TTile>(k, y) + r, key = key0 + k;
                float score = float.NegativeInfinity;
                if (ScoreOptions.IsInRange(rows, slot, key) && ScoreOptions.IsUnmasked(ref p.Scores, rows, slot, sequence.Batch, key))
                {
                    float capped = ScoreOptions.Cap(ref p.Scores, scores[at] * keyScales[k] * p.Scores.SoftmaxScale);
                    score = ScoreOptions.AddBiases(ref p.Scores, rows, slot, ref sequence, key, capped) + p.Cache.BiasOf(ref sequence, key);
                }
                scores[at] = score;
                max = score > max ? score : max;
            }
            partialMax[4 * (x * TTile.ThreadsY + y) + r] = max;
        }
    }

    // Turns the thread's own scores into weights and returns their sum for each row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Exponentiate<TTile>(ArrayView<Float4> weights, int x, int y, Float4 shift) where TTile : struct, IGeneralTile
    {
        Float4 sum = default;
        for (int k = 4 * x; k < 4 * x + 4; k++)
        {
            int at = WeightOf<TTile>(k, y);
            Float4 weight = ExpDifference(weights[at], shift);
            weights[at] = weight;
            sum = Float4.Add(sum, weight);
        }
        return sum;
    }

    // output += P V, as many keys at a time as fit the memory of the key tile.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddValues<TTile, TKv, TKvStorage>(
        ref Parameters<TKv> p, ArrayView<Float4> weights, ArrayView<Float4> valueTile, ArrayView<long> keyOffsets, ArrayView<float> keyScales,
        int x, int y, int keysLeft, ref OutputTile output)
        where TTile : struct, IGeneralTile
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        int blockN = 4 * TTile.ThreadsX, threads = TTile.ThreadsX * TTile.ThreadsY;
        int quads = (p.ValueHeadDim + 3) / 4, keysAtOnce = TransposedTile.Depth * TTile.ThreadsX / quads;
        int end = keysLeft < blockN ? keysLeft : blockN;
        // Columns past the last are computed as the last and not stored.
        int column0 = x < quads ? x : quads - 1, column1 = x + TTile.ThreadsX < quads ? x + TTile.ThreadsX : quads - 1;
        int column2 = x + 2 * TTile.ThreadsX < quads ? x + 2 * TTile.ThreadsX : quads - 1;
        int column3 = x + 3 * TTile.ThreadsX < quads ? x + 3 * TTile.ThreadsX : quads - 1;
        for (int first = 0; first < end; first += keysAtOnce)
        {
            int keys = end - first < keysAtOnce ? end - first : keysAtOnce;
            for (int i = Group.IdxX; i < keys * quads; i += threads)
            {
                int key = first + i / quads, column = 4 * (i % quads);
                long offset = keyOffsets[blockN + key];
                Float4 value = Quads.Load<TKv, TKvStorage>(
                    p.Value.Data, offset + column, offset >= 0 ? p.ValueHeadDim - column : 0, p.Value.HasQuads);
                valueTile[i] = Float4.Scale(value, keyScales[blockN + key]);
            }
            Group.Barrier();
            // The value of a key that one row sees and another does not may be NaN, and 0 · NaN is NaN.
            for (int key = 0; key < keys; key++)
            {
                Float4 weight = weights[WeightOf<TTile>(first + key, y)];
                output.Tile0.MultiplyAddSkippingZeros(weight, valueTile[key * quads + column0]);
                if (quads > TTile.ThreadsX)
                    output.Tile1.MultiplyAddSkippingZeros(weight, valueTile[key * quads + column1]);
                if (2 * TTile.ThreadsX < ColumnQuads && quads > 2 * TTile.ThreadsX)
                {
                    output.Tile2.MultiplyAddSkippingZeros(weight, valueTile[key * quads + column2]);
                    output.Tile3.MultiplyAddSkippingZeros(weight, valueTile[key * quads + column3]);
                }
            }
            Group.Barrier();
        }
    }

    // Takes up the sink, normalises and stores.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish<TTile, TKv>(
        ref Parameters<TKv> p, ref SequenceRows sequence, ArrayView<int> rows, ArrayView<Float4> partialSums, ArrayView<Float4> scratch,
        int x, int y, int split, Float4 max, Float4 sum, ref OutputTile output)
        where TTile : struct, IGeneralTile
        where TKv : unmanaged
    {
        partialSums[x * TTile.ThreadsY + y] = sum;
        if (x == 0)
            scratch[y] = max;
        Group.Barrier();
        if (Group.IdxX < 4 * TTile.ThreadsY)
            FinishRow<TTile, TKv>(ref p, ref sequence, rows, partialSums.Cast<float>(), scratch.Cast<float>(), Group.IdxX, split);
        Group.Barrier();
        output.ScaleRows(scratch[TTile.ThreadsY + y]);
        Group.Barrier();
        for (int first = 0; 4 * first < p.ValueHeadDim; first += TTile.ThreadsX)
        {
            Tile4x4 tile = output.Tile0;
            if (first == TTile.ThreadsX)
                tile = output.Tile1;
            if (2 * TTile.ThreadsX < ColumnQuads && first == 2 * TTile.ThreadsX)
                tile = output.Tile2;
            if (2 * TTile.ThreadsX < ColumnQuads && first == 3 * TTile.ThreadsX)
                tile = output.Tile3;
            int at = 4 * y * TTile.ThreadsX + x;
            scratch[at] = tile.Row0;
            scratch[at + TTile.ThreadsX] = tile.Row1;
            scratch[at + 2 * TTile.ThreadsX] = tile.Row2;
            scratch[at + 3 * TTile.ThreadsX] = tile.Row3;
            Group.Barrier();
            for (int i = Group.IdxX; i < 4 * TTile.ThreadsX * TTile.ThreadsY; i += TTile.ThreadsX * TTile.ThreadsY)
            {
                int slot = i / TTile.ThreadsX, column = 4 * (first + i % TTile.ThreadsX), valid = p.ValueHeadDim - column;
                int query = ScoreOptions.QueryOf(rows, slot), head = ScoreOptions.HeadOf(rows, slot);
                if (query >= 0 && valid > 0)
                {
                    long offset = split * p.TargetSplitStride + p.Target.Offset(sequence.Batch, sequence.QueryStart + query, head);
                    p.Target.Store(offset + column, valid, p.Epilogue.Apply(head, column, valid, scratch[i]));
                }
            }
            Group.Barrier();
        }
    }

    // One row a thread: adds the partial sums, and leaves 1 / l, corrected for the sink's maximum, where the sums of the output
    // are to be multiplied with it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishRow<TTile, TKv>(
        ref Parameters<TKv> p, ref SequenceRows sequence, ArrayView<int> rows, ArrayView<float> partialSums, ArrayView<float> scratch, int slot, int split)
        where TTile : struct, IGeneralTile
        where TKv : unmanaged
    {
        float max = scratch[slot], total = 0f, factor = 1f;
        for (int t = 0; t < TTile.ThreadsX; t++)
            total += partialSums[4 * (t * TTile.ThreadsY + (slot >> 2)) + (slot & 3)];
        int query = ScoreOptions.QueryOf(rows, slot), head = ScoreOptions.HeadOf(rows, slot);
        if (p.HasSinkLogits != 0 && split == 0)
        {
            float sink = p.SinkLogits[head];
            float newMax = sink > max ? sink : max, shift = newMax == float.NegativeInfinity ? 0f : newMax;
            factor = XMath.Exp2((max - shift) * ScoreOptions.Log2E);
            total = total * factor + XMath.Exp2((sink - shift) * ScoreOptions.Log2E);
            max = newMax;
        }
        scratch[4 * TTile.ThreadsY + slot] = total == 0f ? 0f : factor / total; // not "total > 0": a NaN must stay one
        if (p.HasLse != 0 && query >= 0)
        {
            float lse = total == 0f ? float.NegativeInfinity : (max == float.NegativeInfinity ? 0f : max) + XMath.Log(total);
            long offset = split * p.LseSplitStride + sequence.Batch * p.LseBatchStride + head * p.LseHeadStride + sequence.QueryStart + query;
            // In base 2 the lowest numbers would overflow: only a row that has seen no key has −∞. Tests for equality, since
            // a maximum would lose NaN, and so would an ordered comparison, of which ILGPU makes an unordered one.
            float inBase2 = lse * ScoreOptions.Log2E;
            if (inBase2 == float.NegativeInfinity && lse != float.NegativeInfinity)
            {
                inBase2 = float.MinValue;
            }

            p.Lse[offset] = p.NumSplits > 1 ? inBase2 : lse;
        }
    }

    // A row that has seen no key keeps the maximum −∞; subtracting that from −∞ would give NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 FiniteOrZero(Float4 max) => new(
        max.X == float.NegativeInfinity ? 0f : max.X, max.Y == float.NegativeInfinity ? 0f : max.Y,
        max.Z == float.NegativeInfinity ? 0f : max.Z, max.W == float.NegativeInfinity ? 0f : max.W);

    // The difference before the factor: scores far from 0 lose nothing to it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 ExpDifference(Float4 a, Float4 b) => new(
        XMath.Exp2((a.X - b.X) * ScoreOptions.Log2E), XMath.Exp2((a.Y - b.Y) * ScoreOptions.Log2E),
        XMath.Exp2((a.Z - b.Z) * ScoreOptions.Log2E), XMath.Exp2((a.W - b.W) * ScoreOptions.Log2E));

    // 4 rows × 4 columns at column quads x, ThreadsX + x, 2 ThreadsX + x and 3 ThreadsX + x.
    private struct OutputTile
    {
        public Tile4x4 Tile0, Tile1, Tile2, Tile3;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void ScaleRows(Float4 factors)
        {
            Tile0.ScaleRows(factors);
            Tile1.ScaleRows(factors);
            Tile2.ScaleRows(factors);
            Tile3.ScaleRows(factors);
        }
    }
}
