using System.Numerics;
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
    private const int PrefetchDistance = 4096; // bytes

    /// <summary>Keys that 16 bits can tell apart: half the memory.</summary>
    public const int MaxNarrowKeys = 1 << 16;

    /// <summary>The lists, i32 or u16 [batchSize, indexHeads, rows, capacity]; what lies past a row's count is not read.</summary>
    public static Operand Columns(OperandRole role, DataType type, int batchSize, int indexHeads, int rows, int capacity, int keys) =>
        new("columns", role, type, TensorLayout.Contiguous(batchSize, indexHeads, rows, capacity),
            "batchSize, indexHeads, rows, capacity", Values: OperandValues.AscendingBelow(keys));

    /// <summary>The counts, i32 [batchSize, indexHeads, rows], 0 to capacity.</summary>
    public static Operand Counts(OperandRole role, int batchSize, int indexHeads, int rows, int capacity) =>
        new("counts", role, DataType.Int32, TensorLayout.Contiguous(batchSize, indexHeads, rows), "batchSize, indexHeads, rows",
            Values: OperandValues.Between(0, capacity));

    /// <summary>Null when lists of so many keys can have this type.</summary>
    public static string? FindTypeError(DataType type, int keys) =>
        type is not (DataType.Int32 or DataType.UInt16) ? $"columns are i32 or u16, not {type.ToText()}."
        : type == DataType.UInt16 && keys > MaxNarrowKeys ? $"u16 columns name {MaxNarrowKeys} keys at the most, but there are {keys}."
        : null;

    /// <summary>A key of a list of <see cref="int"/> or <see cref="ushort"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe long Read<TIndex>(TIndex* list, long place) where TIndex : unmanaged =>
        sizeof(TIndex) == sizeof(ushort) ? ((ushort*)list)[place] : ((int*)list)[place];

    /// <summary>Asks for what follows a place of a list that is read to its end: the processor's own prefetching ends with each page.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Prefetch<TIndex>(TIndex* list, long place) where TIndex : unmanaged =>
        Vectors.PrefetchFar((byte*)(list + place) + PrefetchDistance);

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
    public static string? FindError(in RawView columns, in RawView counts, int keys) => columns.Type == DataType.UInt16
        ? FindError<ushort>(columns, counts, keys)
        : FindError<int>(columns, counts, keys);

    private static unsafe string? FindError<TIndex>(in RawView columns, in RawView counts, int keys) where TIndex : unmanaged, IBinaryInteger<TIndex>
    {
        for (long row = 0; row < counts.Layout.Count; row++)
        {
            (long b, long h, long i) = Place(counts, row);
            int count = counts.ReadInt32(b, h, i);
            var list = (TIndex*)columns.Address(b, h, i);
            if (count < 0 || count > columns.Layout[3])
                return $"counts[{b}, {h}, {i}] must be 0 to {columns.Layout[3]} but is {count}.";
            if (Rises(list, count, keys))
                continue;
            int p = 0;
            while (Read(list, p) < keys && Read(list, p) > (p == 0 ? -1 : Read(list, p - 1)))
                p++;
            return $"columns[{b}, {h}, {i}] must rise from 0 to {keys - 1} at the most but has {Read(list, p)} at {p}"
                + $"{(p > 0 ? $" after {Read(list, p - 1)}" : "")}.";
        }
        return null;
    }

    private static (long Batch, long Head, long Row) Place(in RawView counts, long row) =>
        (row / counts.Layout[2] / counts.Layout[1], row / counts.Layout[2] % counts.Layout[1], row % counts.Layout[2]);

    // Whether a list's first column is 0 at the least, its last below `keys`, and each above the one before it.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static unsafe bool Rises<TIndex>(TIndex* list, int count, int keys) where TIndex : unmanaged, IBinaryInteger<TIndex>
    {
        if (count == 0)
            return true;
        Vector512<TIndex> fails = default;
        int p = 1;
        for (; p <= count - Vector512<TIndex>.Count; p += Vector512<TIndex>.Count)
        {
            Prefetch(list, p);
            fails |= Vector512.LessThanOrEqual(Vector512.Load(list + p), Vector512.Load(list + p - 1));
        }
        bool rises = fails == default && Read(list, 0) >= 0 && Read(list, count - 1) < keys;
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
                if (count < 0 || count > Columns.Layout[3] || !Rises(b, h, i, count))
                    Interlocked.Increment(ref Errors);
            }
        }

        private readonly unsafe bool Rises(long b, long h, long i, int count) => Columns.Type == DataType.UInt16
            ? ColumnLists.Rises((ushort*)Columns.Address(b, h, i), count, Keys)
            : ColumnLists.Rises((int*)Columns.Address(b, h, i), count, Keys);
    }
}
