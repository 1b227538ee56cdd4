using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The index of sparse attention: for each row of queries a list of keys, ascending, and how many of them count. With blocks in place of
/// rows and keys it is FlexAttention's <c>kv_indices</c> and <c>kv_num_blocks</c> (Dong et al. 2024, arXiv:2412.05496). Heads may share
/// their lists: head h of numHeads reads those of head h div (numHeads / indexHeads).
/// </summary>
internal static class ColumnLists
{
    private const int PrefetchDistance = 1024;

    /// <summary>The lists, i32 [batchSize, indexHeads, rows, capacity]; what lies past a row's count is not read.</summary>
    public static Operand Columns(OperandRole role, int batchSize, int indexHeads, int rows, int capacity, int keys) =>
        new("columns", role, DataType.Int32, TensorLayout.Contiguous(batchSize, indexHeads, rows, capacity),
            "batchSize, indexHeads, rows, capacity", Values: OperandValues.AscendingBelow(keys));

    /// <summary>The counts, i32 [batchSize, indexHeads, rows], 0 to capacity.</summary>
    public static Operand Counts(OperandRole role, int batchSize, int indexHeads, int rows, int capacity) =>
        new("counts", role, DataType.Int32, TensorLayout.Contiguous(batchSize, indexHeads, rows), "batchSize, indexHeads, rows",
            Values: OperandValues.Between(0, capacity));

    /// <summary>
    /// Null when each count is within the capacity and each row's columns rise from 0 to <paramref name="keys"/> − 1. It reads every list on
    /// each call, at memory's speed: <paramref name="workers"/> share that.
    /// </summary>
    public static string? FindError(in RawView columns, in RawView counts, int keys, WorkerPool workers)
    {
        var check = new Check { Columns = columns, Counts = counts, Keys = keys };
        workers.Run(ref check);
        return check.Errors == 0 ? null : FindError(columns, counts, keys);
    }

    /// <summary>As the other, on the calling thread.</summary>
    public static unsafe string? FindError(in RawView columns, in RawView counts, int keys)
    {
        for (long row = 0; row < counts.Layout.Count; row++)
        {
            (long b, long h, long i) = Place(counts, row);
            int count = counts.ReadInt32(b, h, i);
            int* list = (int*)columns.Address(b, h, i);
            if (count < 0 || count > columns.Layout[3])
                return $"counts[{b}, {h}, {i}] must be 0 to {columns.Layout[3]} but is {count}.";
            if (Rises(list, count, keys))
                continue;
            int p = 0;
            while (list[p] < keys && list[p] > (p == 0 ? -1 : list[p - 1]))
                p++;
            return $"columns[{b}, {h}, {i}] must rise from 0 to {keys - 1} at the most but has {list[p]} at {p}"
                + $"{(p > 0 ? $" after {list[p - 1]}" : "")}.";
        }
        return null;
    }

    private static (long Batch, long Head, long Row) Place(in RawView counts, long row) =>
        (row / counts.Layout[2] / counts.Layout[1], row / counts.Layout[2] % counts.Layout[1], row % counts.Layout[2]);

    // Whether a list's first column is 0 at the least, its last below `keys`, and each above the one before it.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static unsafe bool Rises(int* list, int count, int keys)
    {
        if (count == 0)
            return true;
        Vector512<int> fails = default;
        int p = 1;
        for (; p <= count - Vector512<int>.Count; p += Vector512<int>.Count)
        {
            Vectors.PrefetchFar(list + p + PrefetchDistance); // the processor's own prefetching ends with each page
            fails |= Vector512.LessThanOrEqual(Vector512.Load(list + p), Vector512.Load(list + p - 1));
        }
        bool rises = fails == default && list[0] >= 0 && list[count - 1] < keys;
        for (; p < count; p++)
            rises &= list[p] > list[p - 1];
        return rises;
    }

    private struct Check : IParallelBody
    {
        public RawView Columns, Counts;
        public int Keys, Errors;

        public unsafe void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Counts.Layout.Count, worker, workers);
            for (long row = first; row < last; row++)
            {
                (long b, long h, long i) = Place(Counts, row);
                int count = Counts.ReadInt32(b, h, i);
                if (count < 0 || count > Columns.Layout[3] || !Rises((int*)Columns.Address(b, h, i), count, Keys))
                    Interlocked.Increment(ref Errors);
            }
        }
    }
}
