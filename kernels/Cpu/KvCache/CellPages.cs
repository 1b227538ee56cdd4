namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// What operations on the cells of a cache share: two pools of pages, of keys and of values, and a page table that says which of them
/// make up a cell.
/// </summary>
internal static class CellPages
{
    /// <summary>A pool of keys or values.</summary>
    public static Operand Pool(string name, OperandRole role, DataType type, int poolPages, int pageSize, int headDim, string dimName) =>
        new(name, role, type, TensorLayout.Contiguous(poolPages, pageSize, 1, headDim), $"poolPages, pageSize, headsOfAPage, {dimName}",
            Values: type == DataType.Int8 ? OperandValues.Between(-127, 127) : default);

    /// <summary>The scales of a pool of i8 rows; absent for other types.</summary>
    public static Operand Scales(string name, OperandRole role, DataType type, int poolPages, int pageSize) => type != DataType.Int8
        ? Operand.Absent(name)
        : new(name, role, DataType.Float32, TensorLayout.Contiguous(poolPages, 1, pageSize), "poolPages, headsOfAPage, pageSize",
            Values: OperandValues.Scales);

    /// <summary>The page table.</summary>
    public static Operand PageTable(int cells, int slots, int pageSize, int poolPages) =>
        new("pageTable", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(cells, slots / Math.Max(1, pageSize)), "cells, pages",
            Values: OperandValues.DistinctBelow(poolPages));

    /// <summary>The lengths of the cells.</summary>
    public static Operand Lengths(int cells, int slots) =>
        new("lengths", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(cells), "cells", Values: OperandValues.Between(0, slots));

    /// <summary>Null when query heads divide into as many groups as there are cells.</summary>
    public static string? FindHeadError(int numHeads, int cells) =>
        cells == 0 && numHeads > 0 ? "Query heads need a cell."
        : cells > 0 && (numHeads < cells || numHeads % cells != 0)
            ? $"numHeads={numHeads} must be a multiple of cells={cells}, and as many at least."
        : null;

    /// <summary>Null when slots fill whole pages.</summary>
    public static string? FindPageError(int slots, int pageSize) =>
        pageSize < 1 ? $"A page needs at least one slot but has {pageSize}."
        : slots % pageSize != 0 ? $"slots={slots} must be a multiple of pageSize={pageSize}."
        : null;

    /// <summary>Null when a pool can store the type.</summary>
    public static string? FindTypeError(DataType type) =>
        type.IsFloat() || type == DataType.Int8 ? null : $"A cache holds f32, f16, bf16 or i8 keys and values, not {type.ToText()}.";

    /// <summary>Null when the first slots of a cell lie in pages of the pool.</summary>
    public static string? FindPageError(in RawView pageTable, int cell, int slots, int pageSize, int poolPages)
    {
        for (int page = 0; (long)page * pageSize < slots; page++)
        {
            if (pageTable.ReadInt32(cell, page) is var number && (uint)number >= (uint)poolPages)
                return $"pageTable[{cell}, {page}] must be 0 to {poolPages - 1} but is {number}.";
        }
        return null;
    }

    /// <summary>Null when the cells' lengths and the pages in use are within bounds.</summary>
    public static string? FindLengthError(
        in RawView lengths, in RawView pageTable, int cells, int slots, int pageSize, int poolPages)
    {
        for (int c = 0; c < cells; c++)
        {
            if (lengths.ReadInt32(c) is var length && (length < 0 || length > slots))
                return $"lengths[{c}] must be 0 to slots={slots} but is {length}.";
            if (pageTable.IsPresent && FindPageError(pageTable, c, length, pageSize, poolPages) is { } error)
                return error;
        }
        return null;
    }

    /// <summary>Takes the storage type of the pools, i8 included.</summary>
    public static DataType TakeType(ProblemText text) => text.TakeFlag("i8") ? DataType.Int8 : text.TakeType(DataType.Float32);
}
