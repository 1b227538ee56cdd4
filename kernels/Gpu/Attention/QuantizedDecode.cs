using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Attention of a few query rows over pages of codes, x = code · scale + minimum (Liu et al. 2024, KIVI, arXiv:2402.02750). One group of
/// 128 threads has one query row of one head and goes through its keys 128 at a time: a thread has the score of one key, then two
/// columns of the values; the softmax is an online one in base 2. Shared memory: 4 · (256 + 128) bytes.
/// </summary>
internal static class QuantizedDecode
{
    /// <summary>Threads of a group, and keys of a block.</summary>
    public const int Threads = 128;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 4 * (MaxHeadDim + Threads);

    private const int MaxHeadDim = 256;
    private const float Log2E = 1.44269504f;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public TokenTensor<T> Query, Output;       // [batchSize, queryLength, numHeads, dim]
        public ArrayView<int> PageTable;           // [batchSize, numKvHeads, pages]
        public ArrayView<int> KvLengths;           // [batchSize, numKvHeads]
        public PageCodes Codes;
        public ArrayView<float> Lse;               // [batchSize, numHeads, queryLength], natural log
        public long TableBatchStride, TableHeadStride, LengthBatchStride, LseBatchStride, LseHeadStride;
        public int NumHeads, GroupSize, QueryLength, PageSize, HeadDim, ValueHeadDim;
        public float Scale;
    }

    /// <summary>The kernel; one group for each query row of each head of each sequence.</summary>
    public static void Attend<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        ArrayView<float> query = SharedMemory.Allocate<float>(MaxHeadDim);
        ArrayView<float> scores = SharedMemory.Allocate<float>(Threads);
        int thread = Group.IdxX, row = Grid.IdxX % p.QueryLength, head = Grid.IdxX / p.QueryLength % p.NumHeads;
        int batch = Grid.IdxX / p.QueryLength / p.NumHeads, kvHead = head / p.GroupSize;
        int length = p.KvLengths[batch * p.LengthBatchStride + kvHead];
        long table = batch * p.TableBatchStride + kvHead * p.TableHeadStride, source = p.Query.Offset(batch, row, head);
        for (int c = thread; c < p.HeadDim; c += Threads)
            query[c] = TStorage.Load(p.Query.Data[source + c]) * p.Scale * Log2E;
        float max = float.NegativeInfinity, total = 0f, sum0 = 0f, sum1 = 0f;
        for (int first = 0; first < length; first += Threads)
        {
            int count = length - first < Threads ? length - first : Threads;
            Group.Barrier();
            if (thread < count)
                scores[thread] = Score(ref p, query, p.PageTable[table + (first + thread) / p.PageSize], (first + thread) % p.PageSize);
            Group.Barrier();
            float newMax = max;
            for (int j = 0; j < count; j++)
                newMax = scores[j] > newMax ? scores[j] : newMax;
            float rescale = XMath.Exp2(max - newMax); // of −∞ at first: 0
            max = newMax;
            total *= rescale;
            sum0 *= rescale;
            sum1 *= rescale;
            for (int j = 0; j < count; j++)
            {
                float weight = XMath.Exp2(scores[j] - max);
                long page = p.PageTable[table + (first + j) / p.PageSize];
                int slot = (first + j) % p.PageSize;
                total += weight;
                sum0 += weight * Value(ref p, page, slot, thread);
                sum1 += weight * Value(ref p, page, slot, thread + Threads);
            }
        }
        float inverse = total > 0f ? 1f / total : 0f;
        long target = p.Output.Offset(batch, row, head);
        if (thread < p.ValueHeadDim)
            p.Output.Data[target + thread] = TStorage.Store(sum0 * inverse);
        if (thread + Threads < p.ValueHeadDim)
            p.Output.Data[target + thread + Threads] = TStorage.Store(sum1 * inverse);
        if (thread == 0)
        {
            p.Lse[batch * p.LseBatchStride + head * p.LseHeadStride + row] =
                total > 0f ? (max + XMath.Log2(total)) * MergePartialStates.Ln2 : float.NegativeInfinity;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Score<T>(ref Parameters<T> p, ArrayView<float> query, long page, int slot) where T : unmanaged
    {
        long codes = page * p.Codes.KeyPageStride + slot * p.Codes.KeyRowStride;
        int perByte = 8 / p.Codes.Bits, mask = (1 << p.Codes.Bits) - 1;
        float score = 0f;
        for (int c = 0; c < p.HeadDim; c += perByte)
        {
            int packed = p.Codes.Key[codes + c / perByte];
            for (int i = 0; i < perByte; i++)
            {
                float scale = Float16Storage.Load(p.Codes.KeyScale[page * p.Codes.KeyScaleStride + c + i]);
                float minimum = Float16Storage.Load(p.Codes.KeyMinimum[page * p.Codes.KeyMinimumStride + c + i]);
                score += query[c + i] * ((packed >> (i * p.Codes.Bits) & mask) * scale + minimum);
            }
        }
        return score;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Value<T>(ref Parameters<T> p, long page, int slot, int column) where T : unmanaged
    {
        float value = 0f;
        if (column < p.ValueHeadDim)
        {
            int perByte = 8 / p.Codes.Bits, group = column / PageCodes.GroupSize;
            int packed = p.Codes.Value[page * p.Codes.ValuePageStride + slot * p.Codes.ValueRowStride + column / perByte];
            float scale = Float16Storage.Load(p.Codes.ValueScale[page * p.Codes.ValueScalePageStride + slot * p.Codes.ValueScaleRowStride
                + group]);
            float minimum = Float16Storage.Load(
                p.Codes.ValueMinimum[page * p.Codes.ValueMinimumPageStride + slot * p.Codes.ValueMinimumRowStride + group]);
            value = (packed >> (column % perByte * p.Codes.Bits) & ((1 << p.Codes.Bits) - 1)) * scale + minimum;
        }
        return value;
    }
}
