using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Moves the kept slots of each cell of a cache together, in place: keys, values and, of an i8 cache, their scales.
/// <code>
/// row j of cell c = the old row kept[c, j]        j &lt; keptCounts[c]
/// </code>
/// The other rows keep what they hold. A cell is the cache of one key/value head; its slot j is row j mod pageSize of page
/// pageTable[c, j / pageSize], and pages of different cells differ. No slot comes from a lower one, kept[c, j] ≥ j, so that rows
/// move one after another without a copy of what they overwrite. Text form: <c>cells=8 n=4096 page=32 pool=1000 d=128 bf16</c>.
/// </summary>
/// <param name="Cells">Cells (<c>cells</c>, default 1).</param>
/// <param name="Slots">Slots that a cell's row of the page table has room for (<c>n</c>), a multiple of the page size.</param>
/// <param name="PageSize">Slots of a page (<c>page</c>).</param>
/// <param name="PoolPages">Pages in the pools (<c>pool</c>).</param>
/// <param name="HeadDim">Elements of a key (<c>d</c>).</param>
/// <param name="ValueHeadDim">Elements of a value (<c>dv</c>, default d).</param>
/// <param name="Type">Storage of the pools (<c>f32</c>, <c>f16</c>, <c>bf16</c>, <c>i8</c>).</param>
public readonly record struct KvCacheCompactProblem(
    int Cells, int Slots, int PageSize, int PoolPages, int HeadDim, int ValueHeadDim, DataType Type = DataType.Float32)
    : IProblem<KvCacheCompactProblem>
{
    /// <summary>Index of the pool of keys, [poolPages, pageSize, 1, headDim].</summary>
    public const int Key = 0;

    /// <summary>Index of the pool of values, [poolPages, pageSize, 1, valueHeadDim].</summary>
    public const int Value = 1;

    /// <summary>Index of the page table, i32 [cells, pages].</summary>
    public const int PageTable = 2;

    /// <summary>Index of the slots to keep, i32 [cells, slots].</summary>
    public const int Kept = 3;

    /// <summary>Index of their numbers, i32 [cells].</summary>
    public const int KeptCounts = 4;

    /// <summary>Index of the scales of i8 keys, f32 [poolPages, 1, pageSize].</summary>
    public const int KeyScale = 5;

    /// <summary>Index of the scales of i8 values, f32 [poolPages, 1, pageSize].</summary>
    public const int ValueScale = 6;

    /// <inheritdoc/>
    public int OperandCount => 7;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Key => CellPages.Pool("key", OperandRole.InOut, Type, PoolPages, PageSize, HeadDim, "headDim"),
        Value => CellPages.Pool("value", OperandRole.InOut, Type, PoolPages, PageSize, ValueHeadDim, "valueHeadDim"),
        PageTable => CellPages.PageTable(Cells, Slots, PageSize, PoolPages),
        Kept => new("kept", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Cells, Slots), "cells, slots",
            Values: OperandValues.Sources(Slots)),
        KeptCounts => new("keptCounts", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Cells), "cells",
            Values: OperandValues.Between(0, Slots)),
        KeyScale => CellPages.Scales("keyScale", OperandRole.InOut, Type, PoolPages, PageSize),
        ValueScale => CellPages.Scales("valueScale", OperandRole.InOut, Type, PoolPages, PageSize),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => (double)Cells * Slots * ((double)HeadDim + ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes => 2.0 * Cells * Slots * ((double)HeadDim + ValueHeadDim) * Type.SizeInBytes();

    /// <inheritdoc/>
    public string? FindError() =>
        Cells < 0 || Slots < 0 || PoolPages < 0 ? "Sizes must not be negative."
        : HeadDim < 1 || ValueHeadDim < 1 ? "Keys and values need at least one element."
        : CellPages.FindPageError(Slots, PageSize) ?? CellPages.FindTypeError(Type);

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheCompactProblem problem, ReadOnlySpan<RawView> operands)
    {
        for (int c = 0; c < problem.Cells; c++)
        {
            int count = operands[KeptCounts].ReadInt32(c), end = 0;
            if (count < 0 || count > problem.Slots)
                return $"keptCounts[{c}] must be 0 to slots={problem.Slots} but is {count}.";
            for (int j = 0; j < count; j++)
            {
                int slot = operands[Kept].ReadInt32(c, j);
                if (slot < j || slot >= problem.Slots)
                    return $"kept[{c}, {j}] must be {j} to {problem.Slots - 1}, as no slot may come from a lower one, but is {slot}.";
                end = Math.Max(end, slot + 1);
            }
            // Only the pages that are touched need to be there; those between them do as well.
            if (CellPages.FindPageError(operands[PageTable], c, end, problem.PageSize, problem.PoolPages) is { } error)
                return error;
        }
        return null;
    }

    /// <inheritdoc/>
    public static KvCacheCompactProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int headDim = text.TakeSize("d");
        return new KvCacheCompactProblem(
            text.TakeSize("cells", 1), text.TakeSize("n"), text.TakeSize("page"), text.TakeSize("pool"), headDim,
            text.TakeSize("dv", headDim),
            CellPages.TakeType(text));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("cells", Cells), ProblemText.Word("n", Slots), ProblemText.Word("page", PageSize),
        ProblemText.Word("pool", PoolPages),
        ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
