using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// The lengths of the keys and values in each slot of a cache, √Σ x², 0 in slots from a cell's length on. Keys of small norm draw
/// attention (Devoto et al. 2024, arXiv:2406.11430); the norm of a value bounds what it adds. Either may be left out. Text form:
/// <c>cells=8 n=4096 page=32 pool=1024 d=128 bf16</c>.
/// </summary>
/// <param name="Cells">Cells (<c>cells</c>, default 1).</param>
/// <param name="Slots">Slots that a cell's row of the page table has room for (<c>n</c>), a multiple of the page size.</param>
/// <param name="PageSize">Slots of a page (<c>page</c>).</param>
/// <param name="PoolPages">Pages in the pools (<c>pool</c>).</param>
/// <param name="HeadDim">Elements of a key (<c>d</c>).</param>
/// <param name="ValueHeadDim">Elements of a value (<c>dv</c>, default d).</param>
/// <param name="Type">Storage of the pools (<c>f32</c>, <c>f16</c>, <c>bf16</c>, <c>i8</c>).</param>
public readonly record struct KvCacheNormsProblem(
    int Cells, int Slots, int PageSize, int PoolPages, int HeadDim, int ValueHeadDim, DataType Type = DataType.Float32)
    : IProblem<KvCacheNormsProblem>
{
    /// <summary>Index of the pool of keys, [poolPages, pageSize, 1, headDim].</summary>
    public const int Key = 0;

    /// <summary>Index of the pool of values, [poolPages, pageSize, 1, valueHeadDim].</summary>
    public const int Value = 1;

    /// <summary>Index of the page table, i32 [cells, pages].</summary>
    public const int PageTable = 2;

    /// <summary>Index of the numbers of slots in use, i32 [cells].</summary>
    public const int Lengths = 3;

    /// <summary>Index of the norms of the keys, f32 [cells, slots], written if present.</summary>
    public const int KeyNorms = 4;

    /// <summary>Index of the norms of the values, f32 [cells, slots], written if present.</summary>
    public const int ValueNorms = 5;

    /// <summary>Index of the scales of i8 keys, f32 [poolPages, 1, pageSize].</summary>
    public const int KeyScale = 6;

    /// <summary>Index of the scales of i8 values, f32 [poolPages, 1, pageSize].</summary>
    public const int ValueScale = 7;

    /// <inheritdoc/>
    public int OperandCount => 8;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Key => CellPages.Pool("key", OperandRole.Input, Type, PoolPages, PageSize, HeadDim, "headDim"),
        Value => CellPages.Pool("value", OperandRole.Input, Type, PoolPages, PageSize, ValueHeadDim, "valueHeadDim"),
        PageTable => CellPages.PageTable(Cells, Slots, PageSize, PoolPages),
        Lengths => CellPages.Lengths(Cells, Slots),
        KeyNorms => Norms("keyNorms"),
        ValueNorms => Norms("valueNorms"),
        KeyScale => CellPages.Scales("keyScale", OperandRole.Input, Type, PoolPages, PageSize),
        ValueScale => CellPages.Scales("valueScale", OperandRole.Input, Type, PoolPages, PageSize),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * Cells * Slots * ((double)HeadDim + ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes => (double)Cells * Slots * (((double)HeadDim + ValueHeadDim) * Type.SizeInBytes() + 8);

    /// <inheritdoc/>
    public string? FindError() =>
        Cells < 0 || Slots < 0 || PoolPages < 0 ? "Sizes must not be negative."
        : HeadDim < 1 || ValueHeadDim < 1 ? "Keys and values need at least one element."
        : CellPages.FindPageError(Slots, PageSize) ?? CellPages.FindTypeError(Type);

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheNormsProblem problem, ReadOnlySpan<RawView> operands) => CellPages.FindLengthError(
        operands[Lengths], operands[PageTable], problem.Cells, problem.Slots, problem.PageSize, problem.PoolPages);

    /// <inheritdoc/>
    public static KvCacheNormsProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int headDim = text.TakeSize("d");
        return new KvCacheNormsProblem(
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

    private Operand Norms(string name) =>
        new(name, OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Cells, Slots), "cells, slots", IsOptional: true);
}
