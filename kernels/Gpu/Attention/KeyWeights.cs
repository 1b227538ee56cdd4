using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Attention weights p = exp(a − lse) of some rows of a forward pass, and their sums by key. One group of 64 threads has one
/// head and 64 keys, one a thread: eight query rows at a time lie in shared memory and every thread takes their products with
/// its key, so that an element of a key is loaded once for eight rows. A key's sum is made by its thread in the order of the
/// rows. Scores are transformed one after another in a loop over shared memory: the options are compiled once.
/// Shared memory: 8 · (1024 + 256 + 4 · fields) bytes.
/// </summary>
internal static class KeyWeights
{
    /// <summary>Threads of a group, and keys.</summary>
    public const int Threads = 64;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = Rows * (16 * MaxQuads + 4 * Threads + 4 * ScoreOptions.Fields);

    private const int Rows = 8, MaxQuads = 64;

    /// <summary>The arguments.</summary>
    internal struct Parameters<TKv> where TKv : unmanaged
    {
        public TypedTensor Query;           // [batchSize, rowCount, numHeads, headDim]
        public TokenTensor<TKv> Key;        // [batchSize, kvLength, numKvHeads, headDim], or pages
        public ArrayView<float> Lse;        // [batchSize, numHeads, rowCount], natural log
        public ArrayView<float> Weights;    // [batchSize, numHeads, rowCount, kvLength]
        public ArrayView<float> ColumnMass; // [batchSize, numHeads, kvLength]
        public ArrayView<float> KeyScale;   // [batchSize, numKvHeads, kvLength], or [poolPages, headsOfAPage, pageSize]
        public ScoreParameters Scores;
        public CacheParameters Cache;
        public long LseBatchStride, LseHeadStride, WeightBatchStride, WeightHeadStride, WeightRowStride, MassBatchStride, MassHeadStride;
        public long KeyScaleBatchStride, KeyScaleHeadStride;
        public int HasWeights, HasColumnMass, AddsMass, HasKeyScale, HeadDim, FirstRow, RowCount, KeyBlocks;
    }

    /// <summary>The kernel; one group for each 64 keys of each head of each sequence, ragged ones one after another.</summary>
    public static void WeighKeys<TKv, TKvStorage>(Parameters<TKv> p) where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        ArrayView<Float4> queries = SharedMemory.Allocate<Float4>(Rows * MaxQuads); // [quads, rows]
        ArrayView<float> products = SharedMemory.Allocate<float>(Rows * Threads);   // [rows, keys], each thread's own
        ArrayView<int> rows = SharedMemory.Allocate<int>(ScoreOptions.Fields * Rows);
        int head = Grid.IdxX / p.KeyBlocks % p.Scores.NumHeads;
        SequenceRows sequence = ScoreOptions.FindKeys(
            ref p.Scores, Grid.IdxX % p.KeyBlocks, head / p.Scores.GroupSize, Grid.IdxX / p.KeyBlocks / p.Scores.NumHeads, Threads);
        bool isRagged = p.Scores.IsRagged != 0, hasKey = sequence.FirstRow >= 0 && sequence.FirstRow + Group.IdxX < sequence.KvLength;
        int key = sequence.FirstRow + Group.IdxX, rowCount = isRagged ? sequence.QueryLength : p.RowCount;
        if (p.Cache.HasLengths != 0) // slots past a head's length have keys of weight 0
            sequence.KvLength = p.Cache.Length(sequence.Batch, sequence.KvHead, sequence.KvLength);

        long keyOffset = 0;
        float keyScale = 1f;
        if (hasKey && key < sequence.KvLength)
        {
            KeyPlace place = p.Cache.Find(ref sequence, key);
            keyOffset = p.Key.Offset(place.Batch, place.Token, place.Head);
            if (p.HasKeyScale != 0)
                keyScale = p.KeyScale[place.Batch * p.KeyScaleBatchStride + place.Head * p.KeyScaleHeadStride + place.Token];
        }
        float mass = 0f;
        long weightOffset = sequence.Batch * p.WeightBatchStride + head * p.WeightHeadStride + sequence.KeyStart + key;
        for (int row = 0; isRagged && p.HasWeights != 0 && row < p.RowCount && hasKey; row++)
        {
            // Rows of other sequences see none of these keys.
            if (row < sequence.QueryStart || row >= sequence.QueryStart + rowCount)
                p.Weights[weightOffset + row * p.WeightRowStride] = 0f;
        }
        for (int row0 = 0; row0 < rowCount; row0 += Rows)
        {
            Group.Barrier();
            LoadRows(ref p, ref sequence, queries, rows, row0, rowCount, head);
            Group.Barrier();
            bool isSeen = false;
            for (int slot = 0; slot < Rows; slot++)
                isSeen = isSeen || (hasKey && ScoreOptions.IsInRange(rows, slot, key));
            if (isSeen)
                Multiply<TKv, TKvStorage>(ref p, queries, products, keyOffset);
            int count = rowCount - row0 < Rows ? rowCount - row0 : Rows;
            for (int slot = 0; slot < count && hasKey; slot++)
            {
                int row = sequence.QueryStart + row0 + slot;
                float weight = 0f;
                if (isSeen)
                    weight = WeightOf(ref p, ref sequence, rows, slot, row, head, key, products[slot * Threads + Group.IdxX] * keyScale);
                mass += weight;
                if (p.HasWeights != 0)
                    p.Weights[weightOffset + row * p.WeightRowStride] = weight;
            }
        }
        if (p.HasColumnMass != 0 && hasKey)
        {
            long at = sequence.Batch * p.MassBatchStride + head * p.MassHeadStride + sequence.KeyStart + key;
            p.ColumnMass[at] = p.AddsMass != 0 ? p.ColumnMass[at] + mass : mass;
        }
    }

    // Eight query rows and what they see; rows past the last see nothing.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadRows<TKv>(
        ref Parameters<TKv> p, ref SequenceRows sequence, ArrayView<Float4> queries, ArrayView<int> rows, int row0, int rowCount, int head)
        where TKv : unmanaged
    {
        if (Group.IdxX < Rows)
        {
            int row = row0 + Group.IdxX;
            int packed = row < rowCount ? (p.FirstRow + row) * p.Scores.GroupSize + head % p.Scores.GroupSize : sequence.RowCount;
            ScoreOptions.SetPackedRow(ref p.Scores, rows, Group.IdxX, ref sequence, packed);
        }
        int quads = (p.HeadDim + 3) / 4;
        for (int i = Group.IdxX; i < Rows * quads; i += Threads)
        {
            int quad = i % quads, slot = i / quads, row = row0 + slot;
            int valid = row < rowCount ? p.HeadDim - 4 * quad : 0;
            long offset = valid > 0 ? p.Query.Offset(sequence.Batch, sequence.QueryStart + row, head) + 4 * quad : 0;
            queries[quad * Rows + slot] = p.Query.Load(offset, valid);
        }
    }

    // The products of the thread's key with eight query rows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply<TKv, TKvStorage>(
        ref Parameters<TKv> p, ArrayView<Float4> queries, ArrayView<float> products, long keyOffset)
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        Float4 low = default, high = default;
        for (int quad = 0; 4 * quad < p.HeadDim; quad++)
        {
            Float4 key = Quads.Load<TKv, TKvStorage>(p.Key.Data, keyOffset + 4 * quad, p.HeadDim - 4 * quad, p.Key.HasQuads);
            int at = quad * Rows;
            low.X += Float4.Dot(queries[at], key);
            low.Y += Float4.Dot(queries[at + 1], key);
            low.Z += Float4.Dot(queries[at + 2], key);
            low.W += Float4.Dot(queries[at + 3], key);
            high.X += Float4.Dot(queries[at + 4], key);
            high.Y += Float4.Dot(queries[at + 5], key);
            high.Z += Float4.Dot(queries[at + 6], key);
            high.W += Float4.Dot(queries[at + 7], key);
        }
        products[Group.IdxX] = low.X;
        products[Threads + Group.IdxX] = low.Y;
        products[2 * Threads + Group.IdxX] = low.Z;
        products[3 * Threads + Group.IdxX] = low.W;
        products[4 * Threads + Group.IdxX] = high.X;
        products[5 * Threads + Group.IdxX] = high.Y;
        products[6 * Threads + Group.IdxX] = high.Z;
        products[7 * Threads + Group.IdxX] = high.W;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float WeightOf<TKv>(
        ref Parameters<TKv> p, ref SequenceRows sequence, ArrayView<int> rows, int slot, int row, int head, int key, float product) where TKv : unmanaged
    {
        float weight = 0f;
        if (ScoreOptions.IsInRange(rows, slot, key) && ScoreOptions.IsUnmasked(ref p.Scores, rows, slot, sequence.Batch, key))
        {
            float capped = ScoreOptions.Cap(ref p.Scores, product * p.Scores.SoftmaxScale);
            float score = ScoreOptions.AddBiases(ref p.Scores, rows, slot, ref sequence, key, capped) + p.Cache.BiasOf(ref sequence, key);
            float lse = p.Lse[sequence.Batch * p.LseBatchStride + head * p.LseHeadStride + row];
            // A row that saw no key, or keys of score −∞ alone.
            weight = lse == float.NegativeInfinity ? 0f : XMath.Exp2((score - lse) * ScoreOptions.Log2E);
        }
        return weight;
    }
}
