using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Copies of a batch element's keys and values as <see cref="ListedRows{TSimd, TVector, TIndex}"/> reads them: f32, a head's rows side by side (in
/// the tensors they lie so far apart that they meet in a few cache sets), padded with zeros to whole vectors.
/// </summary>
internal static unsafe class PackedRows<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>Packs this worker's part of the rows: target [heads, rows, width].</summary>
    public static void Pack(in RawView view, int batch, float* target, int worker, int workers)
    {
        long rows = view.Layout[1];
        int headDim = (int)view.Layout[3], width = Rows<TSimd, TVector>.Padded(headDim);
        (long first, long last) = Partition.Range(rows, worker, workers);
        for (long row = first; row < last; row++) // in the order of memory
        {
            for (long head = 0; head < view.Layout[2]; head++)
                Load(view.Address(batch, row, head), view.Type, headDim, target + (head * rows + row) * width, width);
        }
    }

    /// <summary>Loads one row.</summary>
    public static void Load(byte* row, DataType type, int count, float* target, int width)
    {
        Rows<TSimd, TVector>.Widen(row, type, count, target);
        for (int c = count; c < width; c++)
            target[c] = 0f;
    }
}
