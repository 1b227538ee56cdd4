using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// Norms of the rows in the slots of each cell of a cache, √Σ x², times the row's scale where there are scales; 0 in slots from the
/// length on. One group of 128 threads has eight slots, 16 threads each, which load four elements at a time. Shared memory: 4 · 128 bytes.
/// </summary>
internal static class RowNorms
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Slots of a group.</summary>
    public const int SlotsOfGroup = Threads / ThreadsOfSlot;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 4 * Threads;

    private const int ThreadsOfSlot = 16;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public TokenTensor<T> Rows;            // [poolPages, pageSize, 1, size]
        public MatrixView<float> Scales;       // [poolPages, pageSize]
        public MatrixView<float> Norms;        // [cells, slots]
        public MatrixView<int> PageTable;      // [cells, pages]
        public ArrayView<int> Lengths;         // [cells]
        public int Slots, GroupsOfCell, PageSize, Size, HasScales;
    }

    /// <summary>The kernel; groupsOfCell groups a cell.</summary>
    public static void MeasureRows<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        ArrayView<float> sums = SharedMemory.Allocate<float>(Threads);
        int cell = Grid.IdxX / p.GroupsOfCell, slot = Grid.IdxX % p.GroupsOfCell * SlotsOfGroup + Group.IdxX / ThreadsOfSlot;
        int thread = Group.IdxX % ThreadsOfSlot;
        bool isInUse = slot < p.Lengths[cell];
        int page = 0, row = 0;
        float sum = 0f;
        if (isInUse)
        {
            page = p.PageTable.Data[cell * p.PageTable.RowStride + slot / p.PageSize];
            row = slot % p.PageSize;
            long offset = p.Rows.Offset(page, row, 0);
            for (int i = 4 * thread; i < p.Size; i += 4 * ThreadsOfSlot)
            {
                Float4 x = Quads.Load<T, TStorage>(p.Rows.Data, offset + i, p.Size - i, p.Rows.HasQuads);
                sum += Float4.Dot(x, x);
            }
        }
        sums[Group.IdxX] = sum;
        Group.Barrier();
        if (thread == 0 && slot < p.Slots)
        {
            sum = 0f;
            for (int i = 0; i < ThreadsOfSlot; i++)
                sum += sums[Group.IdxX + i];
            float norm = XMath.Sqrt(sum);
            if (isInUse && p.HasScales != 0)
                norm *= p.Scales.Data[page * p.Scales.RowStride + row];
            p.Norms.Data[cell * p.Norms.RowStride + slot] = norm;
        }
    }
}
