using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// The attention that future queries, of mean μ and covariance Σ, are expected to pay the slots of a cache, as scores
/// <c>(mean over heads of softmax(scale · k·μ + scale² / 2 · kᵀ Σ k) + ε) · ‖v‖</c> in three passes:
/// <list type="number">
/// <item>Exponents, in base 2. One group of 128 threads has one query head and 32 slots, whose keys lie in shared memory; four threads
/// share a slot and take the rows of Σ four at a time in turn.</item>
/// <item>Maximum and sum of each head: one group a head.</item>
/// <item>Scores: one thread a slot. The norms of the values are in their place already.</item>
/// </list>
/// Shared memory: 16 · 64 · 32 + 4 · 128 bytes for the first, 4 · 272 for the second.
/// </summary>
internal static class ExpectAttention
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Slots of a group of the first pass.</summary>
    public const int SlotsOfGroup = 32;

    /// <summary>Shared memory of the first pass.</summary>
    public const int ExponentSharedBytes = 16 * MaxQuads * SlotsOfGroup + 4 * Threads;

    /// <summary>Shared memory of the second pass.</summary>
    public const int TotalSharedBytes = 4 * (GroupReduce.ScratchSize + Threads);

    private const int MaxQuads = 64, Shares = Threads / SlotsOfGroup;

    /// <summary>The arguments.</summary>
    internal struct Parameters<TKey> where TKey : unmanaged
    {
        public MatrixView<float> QueryMean;        // [numHeads, headDim]
        public ArrayView<float> QueryCovariance;   // [numHeads, headDim, headDim]
        public TokenTensor<TKey> Key;              // [poolPages, pageSize, 1, headDim]
        public MatrixView<float> KeyScale;         // [poolPages, pageSize]
        public MatrixView<int> PageTable;          // [cells, pages]
        public SoftmaxParameters Softmax;
        public long CovarianceHeadStride, CovarianceRowStride;
        public int CovarianceHasQuads, HasKeyScale, GroupsOfHead, PageSize, HeadDim;
        public float Linear, Quadratic;            // scale · log2 e and scale² / 2 · log2 e
    }

    /// <summary>The arguments of the later passes.</summary>
    internal struct SoftmaxParameters
    {
        public MatrixView<float> Scores;           // [cells, slots]: the norms of the values, then the scores
        public ArrayView<int> Lengths;             // [cells]
        public ArrayView<float> Exponents;         // [numHeads, slots]
        public ArrayView<float> Totals;            // [numHeads, 2]: the maximum and 1 / (the sum · groupSize)
        public int Slots, GroupSize, SinkCount, BlocksOfCell;
        public float Epsilon;
    }

    /// <summary>The first pass; groupsOfHead groups a query head.</summary>
    public static void FindExponents<TKey, TStorage>(Parameters<TKey> p) where TKey : unmanaged where TStorage : struct, IStorage<TKey>
    {
        ArrayView<Float4> keys = SharedMemory.Allocate<Float4>(MaxQuads * SlotsOfGroup); // [quads, slots]
        ArrayView<float> parts = SharedMemory.Allocate<float>(Threads);
        int head = Grid.IdxX / p.GroupsOfHead, cell = head / p.Softmax.GroupSize, first = Grid.IdxX % p.GroupsOfHead * SlotsOfGroup;
        int lane = Group.IdxX % SlotsOfGroup, share = Group.IdxX / SlotsOfGroup, length = p.Softmax.Lengths[cell];
        int quads = (p.HeadDim + 3) / 4;
        for (int i = Group.IdxX; i < SlotsOfGroup * quads; i += Threads)
        {
            int slot = first + i / quads, quad = i % quads;
            var key = new Float4(0f, 0f, 0f, 0f);
            if (slot < length)
            {
                int page = p.PageTable.Data[cell * p.PageTable.RowStride + slot / p.PageSize], row = slot % p.PageSize;
                key = Quads.Load<TKey, TStorage>(p.Key.Data, p.Key.Offset(page, row, 0) + 4 * quad, p.HeadDim - 4 * quad, p.Key.HasQuads);
                if (p.HasKeyScale != 0)
                    key = Float4.Scale(key, p.KeyScale.Data[page * p.KeyScale.RowStride + row]);
            }
            keys[quad * SlotsOfGroup + i / quads] = key;
        }
        Group.Barrier();
        float exponent = 0f;
        for (int quad = share; quad < quads; quad += Shares)
        {
            Float4 product = Multiply(ref p, keys, head, quad, quads, lane);
            Float4 mean = Quads.Load<float, Float32Storage>(
                p.QueryMean.Data, head * p.QueryMean.RowStride + 4 * quad, p.HeadDim - 4 * quad, p.QueryMean.HasQuads);
            exponent += Float4.Dot(keys[quad * SlotsOfGroup + lane],
                Float4.MultiplyAdd(p.Quadratic, product, Float4.Scale(mean, p.Linear)));
        }
        parts[Group.IdxX] = exponent;
        Group.Barrier();
        if (share == 0 && first + lane < length)
        {
            exponent = 0f;
            for (int i = 0; i < Shares; i++)
                exponent += parts[i * SlotsOfGroup + lane];
            p.Softmax.Exponents[(long)head * p.Softmax.Slots + first + lane] = exponent;
        }
    }

    // Four rows of Σ, those that exist, times the key of a slot. Threads of a slot's share read the same rows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Multiply<TKey>(
        ref Parameters<TKey> p, ArrayView<Float4> keys, int head, int rowQuad, int quads, int lane) where TKey : unmanaged
    {
        var sum = new Float4(0f, 0f, 0f, 0f);
        int rows = p.HeadDim - 4 * rowQuad;
        long row0 = head * p.CovarianceHeadStride + 4 * rowQuad * p.CovarianceRowStride;
        long row1 = row0 + p.CovarianceRowStride, row2 = row1 + p.CovarianceRowStride, row3 = row2 + p.CovarianceRowStride;
        for (int quad = 0; quad < quads; quad++)
        {
            Float4 key = keys[quad * SlotsOfGroup + lane];
            int valid = p.HeadDim - 4 * quad;
            sum.X += Float4.Dot(key, Row(ref p, row0 + 4 * quad, valid));
            sum.Y += Float4.Dot(key, Row(ref p, row1 + 4 * quad, rows > 1 ? valid : 0));
            sum.Z += Float4.Dot(key, Row(ref p, row2 + 4 * quad, rows > 2 ? valid : 0));
            sum.W += Float4.Dot(key, Row(ref p, row3 + 4 * quad, rows > 3 ? valid : 0));
        }
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Row<TKey>(ref Parameters<TKey> p, long offset, int valid) where TKey : unmanaged =>
        Quads.Load<float, Float32Storage>(p.QueryCovariance, offset, valid, p.CovarianceHasQuads);

    /// <summary>The second pass; one group a query head.</summary>
    public static void FindTotals(SoftmaxParameters p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        ArrayView<float> maxima = SharedMemory.Allocate<float>(Threads);
        long row = (long)Grid.IdxX * p.Slots;
        int length = p.Lengths[Grid.IdxX / p.GroupSize];
        float max = float.NegativeInfinity;
        for (int j = p.SinkCount + Group.IdxX; j < length; j += Threads)
            max = p.Exponents[row + j] > max ? p.Exponents[row + j] : max;
        maxima[Group.IdxX] = max;
        Group.Barrier();
        for (int i = 0; i < Threads; i++)
            max = maxima[i] > max ? maxima[i] : max;
        float sum = 0f;
        for (int j = p.SinkCount + Group.IdxX; j < length; j += Threads)
            sum += XMath.Exp2(p.Exponents[row + j] - max);
        sum = GroupReduce.Sum(scratch, sum);
        if (Group.IdxX == 0)
        {
            p.Totals[2L * Grid.IdxX] = max;
            p.Totals[2L * Grid.IdxX + 1] = 1f / (sum * p.GroupSize);
        }
    }

    /// <summary>The third pass; blocksOfCell groups a cell.</summary>
    public static void ScoreCells(SoftmaxParameters p)
    {
        int cell = Grid.IdxX / p.BlocksOfCell, slot = Grid.IdxX % p.BlocksOfCell * Threads + Group.IdxX;
        if (slot < p.Slots)
        {
            long offset = cell * p.Scores.RowStride + slot;
            int length = p.Lengths[cell];
            float score = slot < length ? float.PositiveInfinity : float.NegativeInfinity;
            if (slot >= p.SinkCount && slot < length)
            {
                float attention = p.Epsilon;
                for (int g = 0; g < p.GroupSize; g++)
                {
                    long head = (long)cell * p.GroupSize + g;
                    attention += XMath.Exp2(p.Exponents[head * p.Slots + slot] - p.Totals[2 * head]) * p.Totals[2 * head + 1];
                }
                score = attention * p.Scores.Data[offset];
            }
            p.Scores.Data[offset] = score;
        }
    }
}
