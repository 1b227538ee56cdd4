using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// The most similar centre of each candidate slot (see the problem for the formula). One group of 64 threads has one candidate, whose key
/// and value lie in shared memory; each thread compares it with every 64th centre, and the first one chooses among their best.
/// Shared memory: 4 · (512 + 128) bytes.
/// </summary>
internal static class NearestRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 4 * (2 * MaxHeadDim + 2 * Threads);

    private const int MaxHeadDim = 256;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public TokenTensor<T> Key, Value;                        // [poolPages, pageSize, 1, dim]
        public MatrixView<int> PageTable;                        // [cells, pages]
        public MatrixView<int> Centres, Candidates, Nearest;     // [cells, slots]
        public ArrayView<int> CentreCounts, CandidateCounts;     // [cells]
        public MatrixView<float> Similarity;                     // [cells, slots]
        public int Slots, PageSize, HeadDim, ValueHeadDim;
        public float Threshold;
    }

    /// <summary>The kernel; one group for each entry of the lists of candidates.</summary>
    public static void FindNearest<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        ArrayView<float> row = SharedMemory.Allocate<float>(2 * MaxHeadDim);
        ArrayView<float> similarities = SharedMemory.Allocate<float>(Threads);
        ArrayView<int> slots = SharedMemory.Allocate<int>(Threads);
        int cell = Grid.IdxX / p.Slots, number = Grid.IdxX % p.Slots, thread = Group.IdxX;
        bool isCandidate = number < p.CandidateCounts[cell];
        int nearest = -1;
        float best = 0f;
        if (isCandidate)
        {
            int candidate = p.Candidates.Data[cell * p.Candidates.RowStride + number];
            long key = Row(ref p, p.Key, cell, candidate), value = Row(ref p, p.Value, cell, candidate);
            for (int i = thread; i < p.HeadDim; i += Threads)
                row[i] = TStorage.Load(p.Key.Data[key + i]);
            for (int i = thread; i < p.ValueHeadDim; i += Threads)
                row[MaxHeadDim + i] = TStorage.Load(p.Value.Data[value + i]);
        }
        Group.Barrier();
        if (isCandidate)
        {
            for (int j = thread; j < p.CentreCounts[cell]; j += Threads)
            {
                int slot = p.Centres.Data[cell * p.Centres.RowStride + j];
                float similarity = Cosine<T, TStorage>(row, 0, p.Key.Data, Row(ref p, p.Key, cell, slot), p.HeadDim)
                    * Cosine<T, TStorage>(row, MaxHeadDim, p.Value.Data, Row(ref p, p.Value, cell, slot), p.ValueHeadDim);
                if (nearest < 0 || similarity > best || (similarity == best && slot > nearest))
                {
                    best = similarity;
                    nearest = slot;
                }
            }
        }
        similarities[thread] = best;
        slots[thread] = nearest;
        Group.Barrier();
        if (thread == 0)
        {
            for (int i = 1; i < Threads; i++)
            {
                if (slots[i] >= 0 && (nearest < 0 || similarities[i] > best || (similarities[i] == best && slots[i] > nearest)))
                {
                    best = similarities[i];
                    nearest = slots[i];
                }
            }
            p.Nearest.Data[cell * p.Nearest.RowStride + number] = best >= p.Threshold ? nearest : -1;
            p.Similarity.Data[cell * p.Similarity.RowStride + number] = best;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Cosine<T, TStorage>(ArrayView<float> row, int first, ArrayView<T> data, long other, int size)
        where T : unmanaged where TStorage : struct, IStorage<T>
    {
        float dot = 0f, squares = 0f, otherSquares = 0f;
        for (int i = 0; i < size; i++)
        {
            float x = row[first + i], y = TStorage.Load(data[other + i]);
            dot += x * y;
            squares += x * x;
            otherSquares += y * y;
        }
        float cosine = 0f;
        if (squares > 0f && otherSquares > 0f && dot > 0f)
            cosine = dot / (XMath.Sqrt(squares) * XMath.Sqrt(otherSquares));
        return cosine;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Row<T>(ref Parameters<T> p, TokenTensor<T> pool, int cell, int slot) where T : unmanaged =>
        pool.Offset(p.PageTable.Data[cell * p.PageTable.RowStride + slot / p.PageSize], slot % p.PageSize, 0);
}
