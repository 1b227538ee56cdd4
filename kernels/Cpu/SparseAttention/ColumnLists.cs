namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The index of sparse attention: for each row of queries a list of keys, ascending, and how many of them count. With blocks in place of
/// rows and keys it is FlexAttention's <c>kv_indices</c> and <c>kv_num_blocks</c> (Dong et al. 2024, arXiv:2412.05496). Heads may share
/// their lists: head h of numHeads reads those of head h div (numHeads / indexHeads).
/// </summary>
internal static class ColumnLists
{
    /// <summary>The lists, i32 [batchSize, indexHeads, rows, capacity]; what lies past a row's count is not read.</summary>
    public static Operand Columns(OperandRole role, int batchSize, int indexHeads, int rows, int capacity, int keys) =>
        new("columns", role, DataType.Int32, TensorLayout.Contiguous(batchSize, indexHeads, rows, capacity),
            "batchSize, indexHeads, rows, capacity", Values: OperandValues.AscendingBelow(keys));

    /// <summary>The counts, i32 [batchSize, indexHeads, rows], 0 to capacity.</summary>
    public static Operand Counts(OperandRole role, int batchSize, int indexHeads, int rows, int capacity) =>
        new("counts", role, DataType.Int32, TensorLayout.Contiguous(batchSize, indexHeads, rows), "batchSize, indexHeads, rows",
            Values: OperandValues.Between(0, capacity));

    /// <summary>Null when each count is within the capacity and each row's columns rise from 0 to <paramref name="keys"/> − 1.</summary>
    public static unsafe string? FindError(in RawView columns, in RawView counts, int keys)
    {
        long capacity = columns.Layout[3];
        for (long b = 0; b < counts.Layout[0]; b++)
        {
            for (long h = 0; h < counts.Layout[1]; h++)
            {
                for (long i = 0; i < counts.Layout[2]; i++)
                {
                    int count = counts.ReadInt32(b, h, i);
                    if (count < 0 || count > capacity)
                        return $"counts[{b}, {h}, {i}] must be 0 to {capacity} but is {count}.";
                    if (FindRowError(new ReadOnlySpan<int>(columns.Address(b, h, i), count), keys) is { } p)
                    {
                        return $"columns[{b}, {h}, {i}] must rise from 0 to {keys - 1} at the most but has {((int*)columns.Address(b, h, i))[p]} "
                            + $"at {p}{(p > 0 ? $" after {((int*)columns.Address(b, h, i))[p - 1]}" : "")}.";
                    }
                }
            }
        }
        return null;
    }

    private static int? FindRowError(ReadOnlySpan<int> row, int keys)
    {
        int before = -1;
        for (int p = 0; p < row.Length; p++)
        {
            if (row[p] <= before || row[p] >= keys)
                return p;
            before = row[p];
        }
        return null;
    }
}
