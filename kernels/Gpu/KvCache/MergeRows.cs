using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// Merges slots of each cell into others: the weighted mean of the members of a slot and itself takes its place (see the problem for the
/// formula). Two kernels: one marks the slots that have members, then one group of 128 threads has one slot of one cell; it leaves at
/// once without a mark, else goes through the cell's targets and sums up its members in ascending order. A thread has elements
/// i and i + 128 of the key and of the value. Shared memory: 4 · 144 bytes.
/// </summary>
internal static class MergeRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Shared memory of a group that merges.</summary>
    public const int SharedBytes = 4 * GroupReduce.ScratchSize;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public TokenTensor<T> Key, Value;        // [poolPages, pageSize, 1, dim]
        public MatrixView<int> PageTable;        // [cells, pages]
        public ArrayView<int> Lengths;           // [cells]
        public MatrixView<int> Targets;          // [cells, slots]
        public MatrixView<float> Weights;        // [cells, slots]
        public ArrayView<int> Marks;             // [cells, slots], contiguous
        public int Cells, Slots, PageSize, HeadDim, ValueHeadDim, IsByDirection;
    }

    /// <summary>Marks nothing; one thread a slot.</summary>
    public static void ClearMarks<T>(Parameters<T> p) where T : unmanaged
    {
        int slot = Grid.IdxX * Threads + Group.IdxX;
        if (slot < p.Cells * p.Slots)
            p.Marks[slot] = 0;
    }

    /// <summary>Marks the slots that others are merged into; one thread a slot. Several write the same number.</summary>
    public static void MarkTargets<T>(Parameters<T> p) where T : unmanaged
    {
        int index = Grid.IdxX * Threads + Group.IdxX;
        if (index < p.Cells * p.Slots)
        {
            int cell = index / p.Slots, slot = index % p.Slots;
            int target = p.Targets.Data[cell * p.Targets.RowStride + slot];
            if (slot < p.Lengths[cell] && target >= 0 && target != slot)
                p.Marks[cell * p.Slots + target] = 1;
        }
    }

    /// <summary>Merges; one group for each slot.</summary>
    public static void MergeMembers<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        int cell = Grid.IdxX / p.Slots, target = Grid.IdxX % p.Slots, thread = Group.IdxX;
        if (p.Marks[Grid.IdxX] != 0)
        {
            float key0 = 0f, key1 = 0f, value0 = 0f, value1 = 0f, total = 0f, length = 0f;
            int count = p.Lengths[cell];
            // The slot itself comes first.
            for (int i = -1; i < count; i++)
            {
                int slot = i < 0 ? target : i;
                bool isMember = i < 0 || (i != target && p.Targets.Data[cell * p.Targets.RowStride + i] == target);
                if (isMember)
                {
                    float weight = p.Weights.Data[cell * p.Weights.RowStride + slot];
                    long key = Row(ref p, p.Key, cell, slot), value = Row(ref p, p.Value, cell, slot);
                    float k0 = Load<T, TStorage>(p.Key.Data, key, thread, p.HeadDim), k1 = Load<T, TStorage>(p.Key.Data, key, thread + Threads, p.HeadDim);
                    float factor = weight;
                    if (p.IsByDirection != 0)
                    {
                        float norm = XMath.Sqrt(GroupReduce.Sum(scratch, k0 * k0 + k1 * k1));
                        length = i < 0 ? norm : length;
                        factor = norm > 0f ? weight / norm : 0f;
                    }
                    key0 += factor * k0;
                    key1 += factor * k1;
                    value0 += weight * Load<T, TStorage>(p.Value.Data, value, thread, p.ValueHeadDim);
                    value1 += weight * Load<T, TStorage>(p.Value.Data, value, thread + Threads, p.ValueHeadDim);
                    total += weight;
                }
            }
            float scale = total > 0f ? 1f / total : 0f, keyScale = scale;
            if (p.IsByDirection != 0)
            {
                float sum = XMath.Sqrt(GroupReduce.Sum(scratch, key0 * key0 + key1 * key1));
                keyScale = sum > 0f && total > 0f ? length / sum : 0f;
            }
            Group.Barrier();
            long keyRow = Row(ref p, p.Key, cell, target), valueRow = Row(ref p, p.Value, cell, target);
            if (thread == 0)
                p.Weights.Data[cell * p.Weights.RowStride + target] = total;
            if (keyScale > 0f)
            {
                Store<T, TStorage>(p.Key.Data, keyRow, thread, p.HeadDim, key0 * keyScale);
                Store<T, TStorage>(p.Key.Data, keyRow, thread + Threads, p.HeadDim, key1 * keyScale);
            }
            if (scale > 0f)
            {
                Store<T, TStorage>(p.Value.Data, valueRow, thread, p.ValueHeadDim, value0 * scale);
                Store<T, TStorage>(p.Value.Data, valueRow, thread + Threads, p.ValueHeadDim, value1 * scale);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Row<T>(ref Parameters<T> p, TokenTensor<T> pool, int cell, int slot) where T : unmanaged =>
        pool.Offset(p.PageTable.Data[cell * p.PageTable.RowStride + slot / p.PageSize], slot % p.PageSize, 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Load<T, TStorage>(ArrayView<T> data, long row, int column, int size) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        float value = 0f;
        if (column < size)
            value = TStorage.Load(data[row + column]);
        return value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<T, TStorage>(ArrayView<T> data, long row, int column, int size, float value)
        where T : unmanaged where TStorage : struct, IStorage<T>
    {
        if (column < size)
            data[row + column] = TStorage.Store(value);
    }
}
