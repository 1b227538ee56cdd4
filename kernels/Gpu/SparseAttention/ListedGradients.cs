using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.SparseAttention;

/// <summary>
/// The gradients of attention over lists, without atomics: sums in a fixed order. The first kernel has one query row of one head in a group
/// of 128 threads and takes 128 keys of its list at a time, for δ and the query's gradient. The second has one key in a group and takes 128
/// rows at a time: each thread searches one row's list for the key, which is ascending, so that no transposed lists are needed; then all
/// sum the gradients of the rows that have it. Shared memory: 16 · 128 + 4 · (3 · 128 + 144) bytes.
/// Cost: pairs · (8 · headDim + 6 · valueHeadDim) FLOPs, and log2 keep steps of search for each key and row.
/// </summary>
internal static class ListedGradients
{
    /// <summary>Threads of a group, and keys or rows of a step.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Shared memory of a group of the first kernel.</summary>
    public const int QuerySharedBytes = 32 * ListedAttention.MaxQuads + 4 * (2 * Threads + GroupReduce.ScratchSize);

    /// <summary>Shared memory of a group of the second kernel.</summary>
    public const int KeySharedBytes = 32 * ListedAttention.MaxQuads + 4 * 3 * Threads;

    private const float Log2E = 1.44269504f;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public ListedAttention.Tensors Tensors;
        public TypedTensor GradOutput, GradQuery, GradKey, GradValue; // [batchSize, tokens, heads, dim]
        public ArrayView<float> GradLse;                              // [batchSize, numHeads, queryLength]
        public long GradLseBatchStride, GradLseHeadStride, GradLseRowStride;
        public ArrayView<float> Deltas;                               // [batchSize, numHeads, queryLength]
        public int NumKvHeads, HasGradLse, HasGradQuery, HasGradKey, HasGradValue;
        public float Scale;
    }

    // What one pair of a row and a key contributes.
    private struct Pair
    {
        public float P, GradProduct;
    }

    /// <summary>The first kernel; one group for each batch element, head and row, in that order.</summary>
    public static void GradListedQueries(Parameters p)
    {
        ArrayView<Float4> query = SharedMemory.Allocate<Float4>(ListedAttention.MaxQuads);
        ArrayView<Float4> gradOutput = SharedMemory.Allocate<Float4>(ListedAttention.MaxQuads);
        ArrayView<float> gradProducts = SharedMemory.Allocate<float>(Threads);
        ArrayView<int> columns = SharedMemory.Allocate<int>(Threads);
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        ListedAttention.Tensors t = p.Tensors;
        int row = Grid.IdxX % t.QueryLength, head = Grid.IdxX / t.QueryLength % t.NumHeads, batch = Grid.IdxX / t.QueryLength / t.NumHeads;
        int kvHead = head / t.GroupSize, thread = Group.IdxX, other = Group.IdxX + Threads;
        ListedAttention.LoadRow(query, t.Query, t.Query.Offset(batch, row, head), t.HeadDim);
        ListedAttention.LoadRow(gradOutput, p.GradOutput, p.GradOutput.Offset(batch, row, head), t.ValueHeadDim);
        Group.Barrier();
        float part = 0f;
        if (4 * thread < t.ValueHeadDim)
            part = Float4.Dot(gradOutput[thread], t.Output.Load(t.Output.Offset(batch, row, head) + 4 * thread, t.ValueHeadDim - 4 * thread));
        float delta = GroupReduce.Sum(scratch, part);
        if (p.HasGradLse != 0)
            delta -= p.GradLse[batch * p.GradLseBatchStride + head * p.GradLseHeadStride + row * p.GradLseRowStride];
        if (thread == 0)
            p.Deltas[Grid.IdxX] = delta;
        float lse = t.Lse[t.LseOffset(batch, head, row)] * Log2E;
        long list = t.Lists.Offset(batch, head / t.HeadsPerIndex, row);
        int count = lse == float.NegativeInfinity ? 0 : t.Lists.Count(batch, head / t.HeadsPerIndex, row);
        float sum = 0f, otherSum = 0f;
        for (int first = 0; first < count; first += Threads)
        {
            int listed = count - first < Threads ? count - first : Threads;
            if (thread < listed)
            {
                int column = t.Lists.Column(list + first + thread);
                columns[thread] = column;
                gradProducts[thread] = GetPair(
                    t, ListedAttention.Dot(query, t.Key, t.Key.Offset(batch, column, kvHead), t.HeadDim),
                    ListedAttention.Dot(gradOutput, t.Value, t.Value.Offset(batch, column, kvHead), t.ValueHeadDim), lse, delta).GradProduct;
            }
            Group.Barrier();
            for (int i = 0; i < listed; i++)
            {
                long key = t.Key.Offset(batch, columns[i], kvHead);
                if (thread < t.HeadDim)
                    sum += gradProducts[i] * t.Key.LoadOne(key + thread);
                if (other < t.HeadDim)
                    otherSum += gradProducts[i] * t.Key.LoadOne(key + other);
            }
            Group.Barrier();
        }
        if (p.HasGradQuery != 0)
            Store(p.GradQuery, p.GradQuery.Offset(batch, row, head), t.HeadDim, sum * p.Scale, otherSum * p.Scale);
    }

    /// <summary>The second kernel; one group for each batch element, key/value head and key, in that order.</summary>
    public static void GradListedKeys(Parameters p)
    {
        ArrayView<Float4> keyRow = SharedMemory.Allocate<Float4>(ListedAttention.MaxQuads);
        ArrayView<Float4> valueRow = SharedMemory.Allocate<Float4>(ListedAttention.MaxQuads);
        ArrayView<float> weights = SharedMemory.Allocate<float>(Threads);
        ArrayView<float> gradProducts = SharedMemory.Allocate<float>(Threads);
        ArrayView<int> isListed = SharedMemory.Allocate<int>(Threads);
        ListedAttention.Tensors t = p.Tensors;
        int key = Grid.IdxX % t.KvLength, kvHead = Grid.IdxX / t.KvLength % p.NumKvHeads, batch = Grid.IdxX / t.KvLength / p.NumKvHeads;
        int thread = Group.IdxX, other = Group.IdxX + Threads;
        ListedAttention.LoadRow(keyRow, t.Key, t.Key.Offset(batch, key, kvHead), t.HeadDim);
        ListedAttention.LoadRow(valueRow, t.Value, t.Value.Offset(batch, key, kvHead), t.ValueHeadDim);
        Group.Barrier();
        float keySum = 0f, otherKeySum = 0f, valueSum = 0f, otherValueSum = 0f;
        for (int head = kvHead * t.GroupSize; head < (kvHead + 1) * t.GroupSize; head++)
        {
            for (int first = 0; first < t.QueryLength; first += Threads)
            {
                int row = first + thread, found = 0;
                if (row < t.QueryLength)
                {
                    float lse = t.Lse[t.LseOffset(batch, head, row)] * Log2E;
                    int list = head / t.HeadsPerIndex;
                    if (lse != float.NegativeInfinity)
                        found = t.Lists.Contains(t.Lists.Offset(batch, list, row), t.Lists.Count(batch, list, row), key);
                    if (found != 0)
                    {
                        Pair pair = GetPair(
                            t, ListedAttention.Dot(keyRow, t.Query, t.Query.Offset(batch, row, head), t.HeadDim),
                            ListedAttention.Dot(valueRow, p.GradOutput, p.GradOutput.Offset(batch, row, head), t.ValueHeadDim), lse,
                            p.Deltas[((long)batch * t.NumHeads + head) * t.QueryLength + row]);
                        weights[thread] = pair.P;
                        gradProducts[thread] = pair.GradProduct;
                    }
                }
                isListed[thread] = found;
                Group.Barrier();
                for (int i = 0; i < Threads; i++)
                {
                    if (isListed[i] != 0)
                    {
                        long query = t.Query.Offset(batch, first + i, head), gradOutput = p.GradOutput.Offset(batch, first + i, head);
                        if (thread < t.HeadDim)
                            keySum += gradProducts[i] * t.Query.LoadOne(query + thread);
                        if (other < t.HeadDim)
                            otherKeySum += gradProducts[i] * t.Query.LoadOne(query + other);
                        if (thread < t.ValueHeadDim)
                            valueSum += weights[i] * p.GradOutput.LoadOne(gradOutput + thread);
                        if (other < t.ValueHeadDim)
                            otherValueSum += weights[i] * p.GradOutput.LoadOne(gradOutput + other);
                    }
                }
                Group.Barrier();
            }
        }
        if (p.HasGradKey != 0)
            Store(p.GradKey, p.GradKey.Offset(batch, key, kvHead), t.HeadDim, keySum * p.Scale, otherKeySum * p.Scale);
        if (p.HasGradValue != 0)
            Store(p.GradValue, p.GradValue.Offset(batch, key, kvHead), t.ValueHeadDim, valueSum, otherValueSum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Pair GetPair(ListedAttention.Tensors t, float product, float gradP, float lse, float delta)
    {
        float score = product * t.ScaleLog2, slope = 1f;
        if (t.CapLog2 > 0f)
        {
            float tanh = HyperbolicTangent.Of(score / t.CapLog2);
            score = t.CapLog2 * tanh;
            slope = 1f - tanh * tanh;
        }
        Pair pair;
        pair.P = XMath.Exp2(score - lse);
        pair.GradProduct = pair.P * (gradP - delta) * slope;
        return pair;
    }

    // Each thread has the elements of a row with its number and 128 after it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(TypedTensor target, long offset, int count, float value, float otherValue)
    {
        if (Group.IdxX < count)
            target.StoreOne(offset + Group.IdxX, value);
        if (Group.IdxX + Threads < count)
            target.StoreOne(offset + Group.IdxX + Threads, otherValue);
    }
}
