using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Layers;

/// <summary>
/// The index of the largest logit of each row, the lowest of equals; −1 for a row that holds a NaN, or only −∞, or nothing.
/// One group of 128 threads has one row.
/// </summary>
internal static class ArgMax
{
    /// <summary>The kernel; one group a row.</summary>
    public static void ArgMaxRows(RowParameters p)
    {
        ArrayView<float> values = SharedMemory.Allocate<float>(GroupReduce.Threads);
        ArrayView<int> indices = SharedMemory.Allocate<int>(GroupReduce.Threads);
        int index = Find(ref p, values, indices);
        if (Group.IdxX == 0)
            p.Indices[Grid.IdxX] = index;
    }

    /// <summary>Finds the index; all threads of the group must call and get the same answer.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Find(ref RowParameters p, ArrayView<float> values, ArrayView<int> indices)
    {
        long row = Grid.IdxX * p.Logits.RowStride;
        float max = float.NegativeInfinity;
        int best = int.MaxValue, hasNaN = 0;
        for (int i = 4 * Group.IdxX; i < p.Size; i += 4 * GroupReduce.Threads)
        {
            int valid = p.Size - i;
            Float4 x = Quads.Load<float, Float32Storage>(p.Logits.Data, row + i, valid, p.Logits.HasQuads);
            Take(x.X, i, ref max, ref best, ref hasNaN);
            if (valid > 1)
                Take(x.Y, i + 1, ref max, ref best, ref hasNaN);
            if (valid > 2)
                Take(x.Z, i + 2, ref max, ref best, ref hasNaN);
            if (valid > 3)
                Take(x.W, i + 3, ref max, ref best, ref hasNaN);
        }
        values[Group.IdxX] = max;
        indices[Group.IdxX] = hasNaN != 0 ? -1 : best;
        Group.Barrier();
        max = float.NegativeInfinity;
        best = int.MaxValue;
        for (int i = 0; i < GroupReduce.Threads; i++)
        {
            int candidate = indices[i];
            float value = values[i];
            hasNaN |= candidate < 0 ? 1 : 0;
            bool isBetter = value > max || (value == max && candidate < best);
            max = isBetter ? value : max;
            best = isBetter ? candidate : best;
        }
        Group.Barrier();
        return hasNaN != 0 || best == int.MaxValue ? -1 : best;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Take(float value, int index, ref float max, ref int best, ref int hasNaN)
    {
        hasNaN |= (Interop.FloatAsInt(value) & 0x7FFFFFFFu) > 0x7F800000u ? 1 : 0;
        best = value > max ? index : best;
        max = value > max ? value : max;
    }
}
