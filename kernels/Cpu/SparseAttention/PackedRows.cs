using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// A batch element's keys and values as <see cref="ListedRows{TSimd, TVector, TIndex}"/> reads them: f32, a head's rows side by side, padded with
/// zeros to whole vectors. Tensors that lie so, as those of a cache do, are read in place; others are copied (where heads take turns in memory,
/// a head's rows lie so far apart that they meet in a few cache sets).
/// </summary>
internal static unsafe class PackedRows<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>A head's rows.</summary>
    public static float* Head(in RawView view, int batch, long head, float* packed) => AreInPlace(view)
        ? (float*)view.Address(batch, 0, head)
        : packed + head * view.Layout[1] * Rows<TSimd, TVector>.Padded((int)view.Layout[3]);

    /// <summary>Packs this worker's part of the rows where they must be: target [heads, rows, width].</summary>
    public static void Pack(in RawView view, int batch, float* target, int worker, int workers)
    {
        if (AreInPlace(view))
            return;
        long rows = view.Layout[1];
        int headDim = (int)view.Layout[3], width = Rows<TSimd, TVector>.Padded(headDim);
        (long first, long last) = Partition.Range(rows, worker, workers);
        for (long row = first; row < last; row++) // in the order of memory
        {
            for (long head = 0; head < view.Layout[2]; head++)
                Load(view.Address(batch, row, head), view.Type, headDim, target + (head * rows + row) * width, width);
        }
    }

    private static bool AreInPlace(in RawView view) =>
        view.Type == DataType.Float32 && view.Layout[3] % TSimd.Width == 0 && view.Layout.Stride(1) == view.Layout[3];

    /// <summary>Loads one row.</summary>
    public static void Load(byte* row, DataType type, int count, float* target, int width)
    {
        Rows<TSimd, TVector>.Widen(row, type, count, target);
        for (int c = count; c < width; c++)
            target[c] = 0f;
    }
}
