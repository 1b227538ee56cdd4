using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// The mean of each class's logit over the positions that count. One group owns 64 classes and goes through all positions: sums
/// need neither atomic additions nor memory, and cost the product a second time, where they are wanted.
/// </summary>
internal static class MeanLogits
{
    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public LogitParameters<T> Logits;
        public ArrayView<float> MeanLogit;  // [vocabSize]
    }

    /// <summary>The kernel; one group for 64 classes.</summary>
    public static void CrossEntropyMeanLogits<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        LogitTile tile = LogitTile.Allocate();
        ArrayView<float> products = tile.Operands.Cast<float>();
        int thread = Group.IdxX, row = Grid.IdxX * LogitTile.Size + thread, count = p.Logits.Loss.Count[0];
        tile.SetClass(ref p.Logits, thread, row, p.Logits.VocabSize);
        float total = 0f;
        for (int row0 = 0; row0 < count; row0 += LogitTile.Size)
        {
            tile.SetRow(ref p.Logits, thread, row0 + thread, count);
            Group.Barrier();
            tile.Multiply<T, TStorage>(ref p.Logits);
            float sum = 0f;
            for (int i = 0; i < LogitTile.Size; i++)
            {
                // Every thread begins in another bank.
                int r = LogitTile.RowAt((i + thread) % LogitTile.Size, thread);
                float logit = tile.Logit(ref p.Logits, products[LogitTile.At(r, thread)], thread);
                sum += row0 + r < count ? logit : 0f;
            }
            total += sum;
            Group.Barrier();
        }
        if (row < p.Logits.VocabSize)
            p.MeanLogit[row] = count == 0 ? 0f : total / count;
    }
}
