using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.SparseAttention;

/// <summary>
/// Attention over lists of keys. One group of 128 threads has one query row of one head, which lies in shared memory, and takes 128 keys of
/// its list at a time: each thread computes one key's score, then each sums one or two elements of the weighted values. Softmax online, in
/// base 2. Shared memory: 16 · 64 + 4 · (2 · 128 + 144) bytes. Cost: 2 · pairs · (headDim + valueHeadDim) FLOPs; every pair reads its key
/// and value.
/// </summary>
internal static class ListedAttention
{
    /// <summary>Threads of a group, and keys of a step.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 16 * MaxQuads + 4 * (2 * Threads + GroupReduce.ScratchSize);

    /// <summary>Quads of the longest row.</summary>
    public const int MaxQuads = 64;

    private const float Ln2 = 0.693147181f;

    /// <summary>What forward and backward share.</summary>
    internal struct Tensors
    {
        public TypedTensor Query, Key, Value, Output; // [batchSize, tokens, heads, dim]
        public ColumnListView Lists;
        public ArrayView<float> Lse;                  // [batchSize, numHeads, queryLength], natural log
        public long LseBatchStride, LseHeadStride, LseRowStride;
        public int NumHeads, QueryLength, KvLength, HeadDim, ValueHeadDim, GroupSize, HeadsPerIndex;
        public float ScaleLog2, CapLog2;              // the cap is 0 for none

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly long LseOffset(int batch, int head, int row) => batch * LseBatchStride + head * LseHeadStride + row * LseRowStride;
    }

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public Tensors Tensors;
        public int HasLse;
    }

    /// <summary>The kernel; one group for each batch element, head and row, in that order.</summary>
    public static void AttendListed(Parameters p)
    {
        ArrayView<Float4> query = SharedMemory.Allocate<Float4>(MaxQuads);
        ArrayView<float> weights = SharedMemory.Allocate<float>(Threads);
        ArrayView<int> columns = SharedMemory.Allocate<int>(Threads);
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        Tensors t = p.Tensors;
        int row = Grid.IdxX % t.QueryLength, head = Grid.IdxX / t.QueryLength % t.NumHeads, batch = Grid.IdxX / t.QueryLength / t.NumHeads;
        int kvHead = head / t.GroupSize, thread = Group.IdxX, other = Group.IdxX + Threads;
        int count = t.Lists.Count(batch, head / t.HeadsPerIndex, row);
        long list = t.Lists.Offset(batch, head / t.HeadsPerIndex, row);
        LoadRow(query, t.Query, t.Query.Offset(batch, row, head), t.HeadDim);
        Group.Barrier();
        float max = float.NegativeInfinity, total = 0f, sum = 0f, otherSum = 0f;
        for (int first = 0; first < count; first += Threads)
        {
            int listed = count - first < Threads ? count - first : Threads;
            float score = float.NegativeInfinity;
            if (thread < listed)
            {
                int column = t.Lists.Column(list + first + thread);
                columns[thread] = column;
                score = Cap(Dot(query, t.Key, t.Key.Offset(batch, column, kvHead), t.HeadDim) * t.ScaleLog2, t.CapLog2);
            }
            float newMax = GroupReduce.Max(scratch, score);
            newMax = max > newMax ? max : newMax;
            float shift = newMax == float.NegativeInfinity ? 0f : newMax; // −∞ − (−∞) would be NaN
            float weight = thread < listed ? XMath.Exp2(score - shift) : 0f, factor = XMath.Exp2(max - shift);
            max = newMax;
            total = total * factor + weight;
            sum *= factor;
            otherSum *= factor;
            weights[thread] = weight;
            Group.Barrier();
            for (int i = 0; i < listed; i++)
            {
                long value = t.Value.Offset(batch, columns[i], kvHead);
                if (thread < t.ValueHeadDim)
                    sum += weights[i] * t.Value.LoadOne(value + thread);
                if (other < t.ValueHeadDim)
                    otherSum += weights[i] * t.Value.LoadOne(value + other);
            }
            Group.Barrier();
        }
        total = GroupReduce.Sum(scratch, total);
        float inverse = total == 0f ? 0f : 1f / total;
        long output = t.Output.Offset(batch, row, head);
        if (thread < t.ValueHeadDim)
            t.Output.StoreOne(output + thread, sum * inverse);
        if (other < t.ValueHeadDim)
            t.Output.StoreOne(output + other, otherSum * inverse);
        if (thread == 0 && p.HasLse != 0)
            t.Lse[t.LseOffset(batch, head, row)] = total == 0f ? float.NegativeInfinity : (max + XMath.Log2(total)) * Ln2;
    }

    /// <summary>Loads a row into shared memory, 0 past its end; a barrier must follow.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadRow(ArrayView<Float4> target, TypedTensor tensor, long offset, int count)
    {
        if (Group.IdxX < MaxQuads)
            target[Group.IdxX] = tensor.Load(offset + 4 * Group.IdxX, count - 4 * Group.IdxX);
    }

    /// <summary>The product of a row in shared memory and one in a tensor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Dot(ArrayView<Float4> row, TypedTensor tensor, long offset, int count)
    {
        float sum = 0f;
        for (int quad = 0; 4 * quad < count; quad++)
            sum += Float4.Dot(row[quad], tensor.Load(offset + 4 * quad, count - 4 * quad));
        return sum;
    }

    /// <summary>cap · tanh(score / cap), or the score where there is no cap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Cap(float score, float cap)
    {
        float result = score;
        if (cap > 0f)
            result = cap * HyperbolicTangent.Of(score / cap);
        return result;
    }
}
