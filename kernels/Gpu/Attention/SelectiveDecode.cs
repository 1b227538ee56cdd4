using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Attention of one token's queries over the cells of a cache that reads the values of the largest weights alone. The first kernel
/// computes the scores, in base 2: one group of 128 threads has 32 slots of a cell, whose keys lie in shared memory, and four threads
/// of each slot take the heads of the group in turn. <see cref="SelectSlots"/> and <see cref="ExpectAttention"/> then find each
/// head's least score kept, maximum and total. The last kernel sums values: one group a head, 128 slots at a time; a slot counts when
/// any head of the group keeps it. Shared memory: 16 · 64 · 32 bytes for the first kernel, 8 · 128 for the last.
/// </summary>
internal static class SelectiveDecode
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Slots of a group of the first kernel.</summary>
    public const int SlotsOfGroup = 32;

    /// <summary>Shared memory of the first kernel.</summary>
    public const int ScoreSharedBytes = 16 * MaxQuads * SlotsOfGroup;

    /// <summary>Shared memory of the last kernel.</summary>
    public const int SumSharedBytes = 8 * Threads;

    private const int MaxQuads = 64;
    private const float Ln2 = 0.693147181f;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public MatrixView<float> Query;            // [numHeads, headDim]
        public TokenTensor<T> Key, Value;          // [poolPages, pageSize, 1, dim]
        public MatrixView<float> KeyScale, ValueScale; // [poolPages, pageSize]
        public MatrixView<int> PageTable;          // [cells, pages]
        public ArrayView<int> Lengths;             // [cells]
        public ArrayView<float> Scores;            // [numHeads, slots], in base 2
        public ArrayView<int> HeadLengths, Budgets; // [numHeads]: what the search for the scores to keep asks for
        public ArrayView<int> LastKept;            // [numHeads, 3], as SelectSlots finds it
        public ArrayView<float> Totals;            // [numHeads, 2]: the maximum and 1 / the sum of the weights relative to it
        public MatrixView<float> Output;           // [numHeads, valueHeadDim]
        public ArrayView<float> Lse;               // [numHeads], natural log
        public int Slots, GroupSize, GroupsOfCell, PageSize, HeadDim, ValueHeadDim, KeepCount, HasScales, HasLse, IsRenormalised;
        public float ScaleLog2;
    }

    /// <summary>The first kernel; groupsOfCell groups a cell.</summary>
    public static void ScoreSlots<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        ArrayView<Float4> keys = SharedMemory.Allocate<Float4>(MaxQuads * SlotsOfGroup); // [quads, slots]
        int cell = Grid.IdxX / p.GroupsOfCell, first = Grid.IdxX % p.GroupsOfCell * SlotsOfGroup, length = p.Lengths[cell];
        int lane = Group.IdxX % SlotsOfGroup, slot = first + lane, quads = (p.HeadDim + 3) / 4;
        for (int i = Group.IdxX; i < SlotsOfGroup * quads; i += Threads)
        {
            int loaded = first + i / quads, quad = i % quads;
            var key = new Float4(0f, 0f, 0f, 0f);
            if (loaded < length)
            {
                int page = p.PageTable.Data[cell * p.PageTable.RowStride + loaded / p.PageSize], row = loaded % p.PageSize;
                key = Quads.Load<T, TStorage>(p.Key.Data, p.Key.Offset(page, row, 0) + 4 * quad, p.HeadDim - 4 * quad, p.Key.HasQuads);
                if (p.HasScales != 0)
                    key = Float4.Scale(key, p.KeyScale.Data[page * p.KeyScale.RowStride + row]);
            }
            keys[quad * SlotsOfGroup + i / quads] = key;
        }
        Group.Barrier();
        for (int g = Group.IdxX / SlotsOfGroup; g < p.GroupSize; g += Threads / SlotsOfGroup)
        {
            int head = cell * p.GroupSize + g;
            float sum = 0f;
            for (int quad = 0; quad < quads; quad++)
            {
                Float4 query = Quads.Load<float, Float32Storage>(
                    p.Query.Data, head * p.Query.RowStride + 4 * quad, p.HeadDim - 4 * quad, p.Query.HasQuads);
                sum += Float4.Dot(query, keys[quad * SlotsOfGroup + lane]);
            }
            if (slot < length)
                p.Scores[(long)head * p.Slots + slot] = sum * p.ScaleLog2;
            if (first == 0 && lane == 0)
            {
                p.HeadLengths[head] = length;
                p.Budgets[head] = p.KeepCount;
            }
        }
    }

    /// <summary>The last kernel; one group a query head.</summary>
    public static void SumValues<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        ArrayView<float> weights = SharedMemory.Allocate<float>(Threads);
        ArrayView<int> isKept = SharedMemory.Allocate<int>(Threads);
        int head = Grid.IdxX, cell = head / p.GroupSize, length = p.Lengths[cell];
        int column = Group.IdxX, otherColumn = Group.IdxX + Threads;
        float max = p.Totals[2L * head], inverse = p.Totals[2L * head + 1];
        float sum = 0f, otherSum = 0f, keptTotal = 0f;
        for (int first = 0; first < length; first += Threads)
        {
            int slot = first + Group.IdxX, keeps = 0;
            float weight = 0f;
            if (slot < length)
            {
                for (int h = cell * p.GroupSize; h < cell * p.GroupSize + p.GroupSize; h++)
                {
                    uint key = SelectSlots.KeyOf(p.Scores[(long)h * p.Slots + slot]), least = (uint)p.LastKept[3L * h];
                    keeps |= key > least || (key == least && slot >= p.LastKept[3L * h + 1]) ? 1 : 0;
                }
                weight = XMath.Exp2(p.Scores[(long)head * p.Slots + slot] - max);
            }
            weights[Group.IdxX] = weight;
            isKept[Group.IdxX] = keeps;
            Group.Barrier();
            int count = length - first < Threads ? length - first : Threads;
            for (int i = 0; i < count; i++)
            {
                if (isKept[i] != 0)
                {
                    int page = p.PageTable.Data[cell * p.PageTable.RowStride + (first + i) / p.PageSize], row = (first + i) % p.PageSize;
                    long offset = p.Value.Offset(page, row, 0);
                    float factor = weights[i];
                    keptTotal += factor;
                    if (p.HasScales != 0)
                        factor *= p.ValueScale.Data[page * p.ValueScale.RowStride + row];
                    if (column < p.ValueHeadDim)
                        sum += factor * TStorage.Load(p.Value.Data[offset + column]);
                    if (otherColumn < p.ValueHeadDim)
                        otherSum += factor * TStorage.Load(p.Value.Data[offset + otherColumn]);
                }
            }
            Group.Barrier();
        }
        float divisor = p.IsRenormalised != 0 ? 1f / keptTotal : inverse;
        if (column < p.ValueHeadDim)
            p.Output.Data[head * p.Output.RowStride + column] = length > 0 ? sum * divisor : 0f;
        if (otherColumn < p.ValueHeadDim)
            p.Output.Data[head * p.Output.RowStride + otherColumn] = length > 0 ? otherSum * divisor : 0f;
        if (Group.IdxX == 0 && p.HasLse != 0)
            p.Lse[head] = length > 0 ? (max - XMath.Log2(inverse)) * Ln2 : float.NegativeInfinity;
    }
}
