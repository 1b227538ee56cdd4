using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Tiled attention with an online softmax (Dao 2023, arXiv:2307.08691; Milakov and Gimelshein 2018, arXiv:1805.02867):
/// <code>
/// S = scale · Q Kᵀ, masked    m' = max(m, rowmax S)    P = 2^(S − m')    r = 2^(m − m')
/// l = r · l + rowsum P        O = r · O + P V          at the end O / l and lse = (m + log2 l) · ln 2
/// </code>
/// One group computes 8 · ThreadsY query rows of one head and loops over blocks of 4 · ThreadsX keys; blocks that the causal
/// mask hides are never read. Scores, weights and sums are float32; logarithms inside are base 2, the lse that is stored is
/// natural. Shared memory: (32 · BlockM + 32 · BlockN + BlockM · BlockN) · 4 bytes. Head dim: any (it is streamed in pieces
/// of 32); value dim: at most 8 · ThreadsX. Each key and value is read once for every BlockM query rows;
/// 2 · rows · keys · (headDim + valueHeadDim) FLOPs.
/// </summary>
internal static class FlashForward
{
    // Value rows that fit the memory of the key tile: 32 · 4 · ThreadsX floats hold 16 rows of 8 · ThreadsX.
    private const int ValueRows = 16;

    /// <summary>The arguments: shapes as in the fields' comments, [batch, head, row] for the log-sum-exp.</summary>
    internal struct Parameters<TQuery, TKv> where TQuery : unmanaged where TKv : unmanaged
    {
        public TokenTensor<TQuery> Query;   // [batchSize, queryLength, numHeads, headDim]
        public TokenTensor<TKv> Key;        // [batchSize, kvLength, numKvHeads, headDim]
        public TokenTensor<TKv> Value;      // [batchSize, kvLength, numKvHeads, valueHeadDim]
        public TokenTensor<TQuery> Output;  // [batchSize, queryLength, numHeads, valueHeadDim]
        public ArrayView<float> Lse;        // [batchSize, numHeads, queryLength]
        public long LseBatchStride, LseHeadStride;
        public int HasLse, IsCausal;
        public int NumHeads, GroupSize, QueryLength, KvLength, HeadDim, ValueHeadDim, QueryBlocks;
        public float SoftmaxScaleLog2;      // softmaxScale · log2 e
    }

    /// <summary>The kernel; one group for each query block of each head of each sequence.</summary>
    public static void FlashAttentionForward<TTile, TQuery, TQueryStorage, TKv, TKvStorage>(Parameters<TQuery, TKv> p)
        where TTile : struct, IFlashTile
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        ArrayView<Float4> queryTile = SharedMemory.Allocate<Float4>(TransposedTile.Depth * 2 * TTile.ThreadsY);
        ArrayView<Float4> kvTile = SharedMemory.Allocate<Float4>(TransposedTile.Depth * TTile.ThreadsX);
        ArrayView<Float4> weights = SharedMemory.Allocate<Float4>(8 * TTile.ThreadsX * TTile.ThreadsY);
        int x = Group.IdxX % TTile.ThreadsX, y = Group.IdxX / TTile.ThreadsX;

        // The last query blocks see the most keys: they start first.
        int row0 = (p.QueryBlocks - 1 - Grid.IdxX % p.QueryBlocks) * 8 * TTile.ThreadsY;
        int head = Grid.IdxX / p.QueryBlocks % p.NumHeads, batch = Grid.IdxX / p.QueryBlocks / p.NumHeads;
        int kvHead = head / p.GroupSize;
        int fullyVisible = VisibleKeys(ref p, row0);
        int kvEnd = VisibleKeys(ref p, row0 + 8 * TTile.ThreadsY - 1);

        var output = default(OutputTile);
        var max0 = Float4.Broadcast(float.NegativeInfinity);
        Float4 max1 = max0, sum0 = default, sum1 = default;
        for (int key0 = 0; key0 < kvEnd; key0 += 4 * TTile.ThreadsX)
        {
            ScoreTile scores = Scores<TTile, TQuery, TQueryStorage, TKv, TKvStorage>(
                ref p, queryTile, kvTile, x, y, batch, head, kvHead, row0, key0);
            scores.Scale(p.SoftmaxScaleLog2);
            bool isBoundary = key0 + 4 * TTile.ThreadsX > fullyVisible;
            if (isBoundary)
                Mask(ref p, ref scores, row0 + 8 * y, key0 + 4 * x);

            Float4 blockMax0 = scores.Upper.RowMax(), blockMax1 = scores.Lower.RowMax();
            MaxOverThreads<TTile>(queryTile, x, y, ref blockMax0, ref blockMax1);
            Float4 newMax0 = Float4.Max(max0, blockMax0), newMax1 = Float4.Max(max1, blockMax1);
            Float4 shift0 = FiniteOrZero(newMax0), shift1 = FiniteOrZero(newMax1);
            Float4 rescale0 = Exp2Difference(max0, shift0), rescale1 = Exp2Difference(max1, shift1);
            scores.Exponentiate(shift0, shift1);
            sum0 = Float4.Add(Float4.Multiply(sum0, rescale0), scores.Upper.RowSum());
            sum1 = Float4.Add(Float4.Multiply(sum1, rescale1), scores.Lower.RowSum());
            max0 = newMax0;
            max1 = newMax1;
            output.ScaleRows(rescale0, rescale1);
            StoreWeights<TTile>(weights, x, y, ref scores);
            AddValues<TTile, TQuery, TKv, TKvStorage>(ref p, weights, kvTile, x, y, batch, kvHead, key0, kvEnd, isBoundary, ref output);
        }
        SumOverThreads<TTile>(queryTile, x, y, ref sum0, ref sum1);
        output.ScaleRows(InverseOrZero(sum0), InverseOrZero(sum1));
        StoreOutput<TTile, TQuery, TQueryStorage, TKv>(ref p, ref output, x, batch, head, row0 + 8 * y);
        if (p.HasLse != 0 && x == 0)
        {
            StoreLse(ref p, batch, head, row0 + 8 * y, max0, sum0);
            StoreLse(ref p, batch, head, row0 + 8 * y + 4, max1, sum1);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int VisibleKeys<TQuery, TKv>(ref Parameters<TQuery, TKv> p, int row) where TQuery : unmanaged where TKv : unmanaged
    {
        int visible = p.IsCausal != 0 ? row + 1 - p.QueryLength + p.KvLength : p.KvLength;
        visible = visible < p.KvLength ? visible : p.KvLength; // also for the rows past the last query of the last block
        return visible > 0 ? visible : 0;
    }

    // Q Kᵀ of one tile, 32 columns of the head dim at a time.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ScoreTile Scores<TTile, TQuery, TQueryStorage, TKv, TKvStorage>(
        ref Parameters<TQuery, TKv> p, ArrayView<Float4> queryTile, ArrayView<Float4> keyTile, int x, int y,
        int batch, int head, int kvHead, int row0, int key0)
        where TTile : struct, IFlashTile
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        int threads = TTile.ThreadsX * TTile.ThreadsY;
        var scores = default(ScoreTile);
        for (int depth0 = 0; depth0 < p.HeadDim; depth0 += TransposedTile.Depth)
        {
            TransposedTile.Load<TQuery, TQueryStorage>(
                queryTile.Cast<float>(), 8 * TTile.ThreadsY, threads, p.Query.Data, p.Query.Offset(batch, row0, head),
                p.Query.TokenStride, p.QueryLength - row0, depth0, p.HeadDim, p.Query.HasQuads);
            TransposedTile.Load<TKv, TKvStorage>(
                keyTile.Cast<float>(), 4 * TTile.ThreadsX, threads, p.Key.Data, p.Key.Offset(batch, key0, kvHead),
                p.Key.TokenStride, p.KvLength - key0, depth0, p.HeadDim, p.Key.HasQuads);
            Group.Barrier();
            int columns = p.HeadDim - depth0;
            for (int quad = 0; quad < TransposedTile.Depth / 4 && 4 * quad < columns; quad++)
            {
                int query = 8 * quad * TTile.ThreadsY + ((2 * y) ^ quad), query1 = 8 * quad * TTile.ThreadsY + ((2 * y + 1) ^ quad);
                int key = 4 * quad * TTile.ThreadsX + (x ^ quad);
                scores.MultiplyAdd(queryTile[query], queryTile[query1], keyTile[key]);
                query += 2 * TTile.ThreadsY;
                query1 += 2 * TTile.ThreadsY;
                key += TTile.ThreadsX;
                scores.MultiplyAdd(queryTile[query], queryTile[query1], keyTile[key]);
                query += 2 * TTile.ThreadsY;
                query1 += 2 * TTile.ThreadsY;
                key += TTile.ThreadsX;
                scores.MultiplyAdd(queryTile[query], queryTile[query1], keyTile[key]);
                query += 2 * TTile.ThreadsY;
                query1 += 2 * TTile.ThreadsY;
                key += TTile.ThreadsX;
                scores.MultiplyAdd(queryTile[query], queryTile[query1], keyTile[key]);
            }
            Group.Barrier();
        }
        return scores;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mask<TQuery, TKv>(ref Parameters<TQuery, TKv> p, ref ScoreTile scores, int row, int key)
        where TQuery : unmanaged where TKv : unmanaged
    {
        MaskRow(ref scores.Upper.Row0, VisibleKeys(ref p, row) - key);
        MaskRow(ref scores.Upper.Row1, VisibleKeys(ref p, row + 1) - key);
        MaskRow(ref scores.Upper.Row2, VisibleKeys(ref p, row + 2) - key);
        MaskRow(ref scores.Upper.Row3, VisibleKeys(ref p, row + 3) - key);
        MaskRow(ref scores.Lower.Row0, VisibleKeys(ref p, row + 4) - key);
        MaskRow(ref scores.Lower.Row1, VisibleKeys(ref p, row + 5) - key);
        MaskRow(ref scores.Lower.Row2, VisibleKeys(ref p, row + 6) - key);
        MaskRow(ref scores.Lower.Row3, VisibleKeys(ref p, row + 7) - key);
    }

    // A selection, not an addition of −∞: a hidden key may hold NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MaskRow(ref Float4 row, int visible)
    {
        row.X = visible > 0 ? row.X : float.NegativeInfinity;
        row.Y = visible > 1 ? row.Y : float.NegativeInfinity;
        row.Z = visible > 2 ? row.Z : float.NegativeInfinity;
        row.W = visible > 3 ? row.W : float.NegativeInfinity;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MaxOverThreads<TTile>(ArrayView<Float4> scratch, int x, int y, ref Float4 max0, ref Float4 max1)
        where TTile : struct, IFlashTile
    {
        scratch[2 * (x * TTile.ThreadsY + y)] = max0;
        scratch[2 * (x * TTile.ThreadsY + y) + 1] = max1;
        Group.Barrier();
        for (int i = 0; i < TTile.ThreadsX; i++)
        {
            max0 = Float4.Max(max0, scratch[2 * (i * TTile.ThreadsY + y)]);
            max1 = Float4.Max(max1, scratch[2 * (i * TTile.ThreadsY + y) + 1]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SumOverThreads<TTile>(ArrayView<Float4> scratch, int x, int y, ref Float4 sum0, ref Float4 sum1)
        where TTile : struct, IFlashTile
    {
        scratch[2 * (x * TTile.ThreadsY + y)] = sum0;
        scratch[2 * (x * TTile.ThreadsY + y) + 1] = sum1;
        Group.Barrier();
        sum0 = default;
        sum1 = default;
        for (int i = 0; i < TTile.ThreadsX; i++)
        {
            sum0 = Float4.Add(sum0, scratch[2 * (i * TTile.ThreadsY + y)]);
            sum1 = Float4.Add(sum1, scratch[2 * (i * TTile.ThreadsY + y) + 1]);
        }
    }

    // A row that has seen no key keeps the maximum −∞; subtracting that from −∞ would give NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 FiniteOrZero(Float4 max) => new(
        max.X == float.NegativeInfinity ? 0f : max.X, max.Y == float.NegativeInfinity ? 0f : max.Y,
        max.Z == float.NegativeInfinity ? 0f : max.Z, max.W == float.NegativeInfinity ? 0f : max.W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Exp2Difference(Float4 a, Float4 b) =>
        new(XMath.Exp2(a.X - b.X), XMath.Exp2(a.Y - b.Y), XMath.Exp2(a.Z - b.Z), XMath.Exp2(a.W - b.W));

    // Not "sum > 0": a NaN must stay one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 InverseOrZero(Float4 sum) => new(
        sum.X == 0f ? 0f : 1f / sum.X, sum.Y == 0f ? 0f : 1f / sum.Y, sum.Z == 0f ? 0f : 1f / sum.Z, sum.W == 0f ? 0f : 1f / sum.W);

    // Weights lie key after key, row quads spread as in TransposedTile.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreWeights<TTile>(ArrayView<Float4> weights, int x, int y, ref ScoreTile scores) where TTile : struct, IFlashTile
    {
        int stride = 2 * TTile.ThreadsY;
        int upper = 4 * x * stride + ((2 * y) ^ (x & 7)), lower = 4 * x * stride + ((2 * y + 1) ^ (x & 7));
        Tile4x4 a = scores.Upper, b = scores.Lower;
        weights[upper] = new Float4(a.Row0.X, a.Row1.X, a.Row2.X, a.Row3.X);
        weights[lower] = new Float4(b.Row0.X, b.Row1.X, b.Row2.X, b.Row3.X);
        weights[upper + stride] = new Float4(a.Row0.Y, a.Row1.Y, a.Row2.Y, a.Row3.Y);
        weights[lower + stride] = new Float4(b.Row0.Y, b.Row1.Y, b.Row2.Y, b.Row3.Y);
        weights[upper + 2 * stride] = new Float4(a.Row0.Z, a.Row1.Z, a.Row2.Z, a.Row3.Z);
        weights[lower + 2 * stride] = new Float4(b.Row0.Z, b.Row1.Z, b.Row2.Z, b.Row3.Z);
        weights[upper + 3 * stride] = new Float4(a.Row0.W, a.Row1.W, a.Row2.W, a.Row3.W);
        weights[lower + 3 * stride] = new Float4(b.Row0.W, b.Row1.W, b.Row2.W, b.Row3.W);
    }

    // output += P V, 16 keys at a time.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddValues<TTile, TQuery, TKv, TKvStorage>(
        ref Parameters<TQuery, TKv> p, ArrayView<Float4> weights, ArrayView<Float4> valueTile, int x, int y,
        int batch, int kvHead, int key0, int kvEnd, bool isBoundary, ref OutputTile output)
        where TTile : struct, IFlashTile
        where TQuery : unmanaged
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        int columnQuads = 2 * TTile.ThreadsX, threads = TTile.ThreadsX * TTile.ThreadsY;
        for (int first = 0; first < 4 * TTile.ThreadsX && key0 + first < kvEnd; first += ValueRows)
        {
            long offset = p.Value.Offset(batch, key0 + first, kvHead);
            for (int i = Group.IdxX; i < ValueRows * columnQuads; i += threads)
            {
                int key = i / columnQuads, column = 4 * (i % columnQuads);
                int valid = key0 + first + key < kvEnd ? p.ValueHeadDim - column : 0;
                valueTile[i] = Quads.Load<TKv, TKvStorage>(p.Value.Data, offset + key * p.Value.TokenStride + column, valid, p.Value.HasQuads);
            }
            Group.Barrier();
            if (isBoundary && p.IsCausal != 0)
            {
                // The value of a key that one row sees and another does not may be NaN, and 0 · NaN is NaN.
                for (int key = 0; key < ValueRows; key++)
                {
                    int weight = (first + key) * 2 * TTile.ThreadsY, swizzle = ((first + key) >> 2) & 7;
                    output.MultiplyAddSkippingZeros(
                        weights[weight + ((2 * y) ^ swizzle)], weights[weight + ((2 * y + 1) ^ swizzle)],
                        valueTile[key * columnQuads + x], valueTile[key * columnQuads + TTile.ThreadsX + x]);
                }
            }
            else
            {
                for (int key = 0; key < ValueRows; key++)
                {
                    int weight = (first + key) * 2 * TTile.ThreadsY, swizzle = ((first + key) >> 2) & 7;
                    output.MultiplyAdd(
                        weights[weight + ((2 * y) ^ swizzle)], weights[weight + ((2 * y + 1) ^ swizzle)],
                        valueTile[key * columnQuads + x], valueTile[key * columnQuads + TTile.ThreadsX + x]);
                }
            }
            Group.Barrier();
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreOutput<TTile, TQuery, TQueryStorage, TKv>(
        ref Parameters<TQuery, TKv> p, ref OutputTile output, int x, int batch, int head, int row)
        where TTile : struct, IFlashTile
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged
    {
        int left = 4 * x, right = 4 * (TTile.ThreadsX + x);
        StoreRows<TQuery, TQueryStorage, TKv>(ref p, output.UpperLeft, batch, head, row, left);
        StoreRows<TQuery, TQueryStorage, TKv>(ref p, output.UpperRight, batch, head, row, right);
        StoreRows<TQuery, TQueryStorage, TKv>(ref p, output.LowerLeft, batch, head, row + 4, left);
        StoreRows<TQuery, TQueryStorage, TKv>(ref p, output.LowerRight, batch, head, row + 4, right);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRows<TQuery, TQueryStorage, TKv>(
        ref Parameters<TQuery, TKv> p, Tile4x4 rows, int batch, int head, int row, int column)
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged
    {
        int valid = p.ValueHeadDim - column;
        long offset = p.Output.Offset(batch, row, head) + column;
        if (row < p.QueryLength)
            Quads.Store<TQuery, TQueryStorage>(p.Output.Data, offset, valid, p.Output.HasQuads, rows.Row0);
        if (row + 1 < p.QueryLength)
            Quads.Store<TQuery, TQueryStorage>(p.Output.Data, offset + p.Output.TokenStride, valid, p.Output.HasQuads, rows.Row1);
        if (row + 2 < p.QueryLength)
            Quads.Store<TQuery, TQueryStorage>(p.Output.Data, offset + 2 * p.Output.TokenStride, valid, p.Output.HasQuads, rows.Row2);
        if (row + 3 < p.QueryLength)
            Quads.Store<TQuery, TQueryStorage>(p.Output.Data, offset + 3 * p.Output.TokenStride, valid, p.Output.HasQuads, rows.Row3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreLse<TQuery, TKv>(ref Parameters<TQuery, TKv> p, int batch, int head, int row, Float4 max, Float4 sum)
        where TQuery : unmanaged where TKv : unmanaged
    {
        long offset = batch * p.LseBatchStride + head * p.LseHeadStride + row;
        if (row < p.QueryLength)
            p.Lse[offset] = NaturalLse(max.X, sum.X);
        if (row + 1 < p.QueryLength)
            p.Lse[offset + 1] = NaturalLse(max.Y, sum.Y);
        if (row + 2 < p.QueryLength)
            p.Lse[offset + 2] = NaturalLse(max.Z, sum.Z);
        if (row + 3 < p.QueryLength)
            p.Lse[offset + 3] = NaturalLse(max.W, sum.W);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float NaturalLse(float maxLog2, float sum) =>
        sum == 0f ? float.NegativeInfinity : (maxLog2 == float.NegativeInfinity ? 0f : maxLog2) * MergePartialStates.Ln2 + XMath.Log(sum);

    // 8 query rows × 4 keys.
    private struct ScoreTile
    {
        public Tile4x4 Upper, Lower;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void MultiplyAdd(Float4 query0, Float4 query1, Float4 key)
        {
            Upper.MultiplyAdd(query0, key);
            Lower.MultiplyAdd(query1, key);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Scale(float factor)
        {
            var factors = Float4.Broadcast(factor);
            Upper.ScaleRows(factors);
            Lower.ScaleRows(factors);
        }

        // 2^(score − shift of its row); −∞ gives 0.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Exponentiate(Float4 shift0, Float4 shift1)
        {
            Upper.Row0 = Exp2Difference(Upper.Row0, Float4.Broadcast(shift0.X));
            Upper.Row1 = Exp2Difference(Upper.Row1, Float4.Broadcast(shift0.Y));
            Upper.Row2 = Exp2Difference(Upper.Row2, Float4.Broadcast(shift0.Z));
            Upper.Row3 = Exp2Difference(Upper.Row3, Float4.Broadcast(shift0.W));
            Lower.Row0 = Exp2Difference(Lower.Row0, Float4.Broadcast(shift1.X));
            Lower.Row1 = Exp2Difference(Lower.Row1, Float4.Broadcast(shift1.Y));
            Lower.Row2 = Exp2Difference(Lower.Row2, Float4.Broadcast(shift1.Z));
            Lower.Row3 = Exp2Difference(Lower.Row3, Float4.Broadcast(shift1.W));
        }
    }

    // 8 query rows × 8 value columns: column quads x and ThreadsX + x.
    private struct OutputTile
    {
        public Tile4x4 UpperLeft, UpperRight, LowerLeft, LowerRight;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void MultiplyAdd(Float4 weight0, Float4 weight1, Float4 left, Float4 right)
        {
            UpperLeft.MultiplyAdd(weight0, left);
            UpperRight.MultiplyAdd(weight0, right);
            LowerLeft.MultiplyAdd(weight1, left);
            LowerRight.MultiplyAdd(weight1, right);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void MultiplyAddSkippingZeros(Float4 weight0, Float4 weight1, Float4 left, Float4 right)
        {
            UpperLeft.MultiplyAddSkippingZeros(weight0, left);
            UpperRight.MultiplyAddSkippingZeros(weight0, right);
            LowerLeft.MultiplyAddSkippingZeros(weight1, left);
            LowerRight.MultiplyAddSkippingZeros(weight1, right);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void ScaleRows(Float4 factors0, Float4 factors1)
        {
            UpperLeft.ScaleRows(factors0);
            UpperRight.ScaleRows(factors0);
            LowerLeft.ScaleRows(factors1);
            LowerRight.ScaleRows(factors1);
        }
    }
}
