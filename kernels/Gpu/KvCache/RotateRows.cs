using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// Turns the stored keys of each cell by steps of their own, in place or into a second pool (Su et al. 2021, arXiv:2104.09864):
/// <c>(x, y) → (x·cos − y·sin, y·cos + x·sin)</c>, with the sine's sign that of the step. One group of 64 threads has one slot; its
/// threads share the pairs, and the elements that do not turn.
/// </summary>
internal static class RotateRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public TokenTensor<T> Source, Target;     // [poolPages, pageSize, 1, headDim], the same for turning in place
        public MatrixView<int> PageTable;         // [cells, pages]
        public ArrayView<int> Lengths;            // [cells]
        public MatrixView<int> Steps;             // [cells, slots]
        public MatrixView<float> Cos, Sin;        // [maxPosition, rotaryDim / 2]
        public int Slots, PageSize, HeadDim, HalfDim, IsInterleaved;
    }

    /// <summary>The kernel; one group for each slot that the page tables have room for.</summary>
    public static void RotateKeys<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        int cell = Grid.IdxX / p.Slots, slot = Grid.IdxX % p.Slots;
        if (slot < p.Lengths[cell])
        {
            int page = p.PageTable.Data[cell * p.PageTable.RowStride + slot / p.PageSize];
            int row = slot % p.PageSize, step = p.Steps.Data[cell * p.Steps.RowStride + slot];
            long source = p.Source.Offset(page, row, 0), target = p.Target.Offset(page, row, 0);
            long position = step < 0 ? -step : step;
            int half = step == 0 ? 0 : p.HalfDim;
            for (int i = Group.IdxX; i < half; i += Threads)
            {
                int first = p.IsInterleaved != 0 ? 2 * i : i, second = p.IsInterleaved != 0 ? 2 * i + 1 : i + half;
                float cos = p.Cos.Data[position * p.Cos.RowStride + i], sin = p.Sin.Data[position * p.Sin.RowStride + i];
                sin = step < 0 ? -sin : sin;
                float x = TStorage.Load(p.Source.Data[source + first]), y = TStorage.Load(p.Source.Data[source + second]);
                p.Target.Data[target + first] = TStorage.Store(x * cos - y * sin);
                p.Target.Data[target + second] = TStorage.Store(y * cos + x * sin);
            }
            for (int i = 2 * half + Group.IdxX; i < p.HeadDim; i += Threads)
                p.Target.Data[target + i] = p.Source.Data[source + i];
        }
    }
}
