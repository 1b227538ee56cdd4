using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// For each candidate slot of a cell the most similar of the cell's centres:
/// <code>
/// s(t, c) = max(0, cos(key_t, key_c)) · max(0, cos(value_t, value_c))        a row of norm 0 is like none
/// similarity[i] = max_c s(candidates[i], c)        nearest[i] = that c, of equals the larger slot; −1 below the threshold
/// </code>
/// Entries past a count are −1 and 0. Text form: <c>cells=2 n=64 page=32 pool=8 d=64 tau=0.6 bf16</c>.
/// </summary>
/// <param name="Cells">Cells (<c>cells</c>, default 1).</param>
/// <param name="Slots">Slots that a cell's row of the page table has room for (<c>n</c>), a multiple of the page size.</param>
/// <param name="PageSize">Slots of a page (<c>page</c>).</param>
/// <param name="PoolPages">Pages in the pools (<c>pool</c>).</param>
/// <param name="HeadDim">Elements of a key (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="Threshold">Similarity from which a centre is near (<c>tau</c>, default 0).</param>
/// <param name="Type">Storage of the pools (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct KvCacheNearestProblem(
    int Cells, int Slots, int PageSize, int PoolPages, int HeadDim, int ValueHeadDim, float Threshold = 0f, DataType Type = DataType.Float32)
    : IProblem<KvCacheNearestProblem>
{
    /// <summary>Index of the pool of keys, [poolPages, pageSize, 1, headDim].</summary>
    public const int Key = 0;

    /// <summary>Index of the pool of values, [poolPages, pageSize, 1, valueHeadDim].</summary>
    public const int Value = 1;

    /// <summary>Index of the page table, i32 [cells, pages].</summary>
    public const int PageTable = 2;

    /// <summary>Index of the slots that are centres, i32 [cells, slots].</summary>
    public const int Centres = 3;

    /// <summary>Index of their numbers, i32 [cells].</summary>
    public const int CentreCounts = 4;

    /// <summary>Index of the slots that look for one, i32 [cells, slots].</summary>
    public const int Candidates = 5;

    /// <summary>Index of their numbers, i32 [cells].</summary>
    public const int CandidateCounts = 6;

    /// <summary>Index of the slot of each candidate's centre, i32 [cells, slots].</summary>
    public const int Nearest = 7;

    /// <summary>Index of how similar it is, f32 [cells, slots].</summary>
    public const int Similarity = 8;

    /// <inheritdoc/>
    public int OperandCount => 9;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Key => CellPages.Pool("key", OperandRole.Input, Type, PoolPages, PageSize, HeadDim, "headDim"),
        Value => CellPages.Pool("value", OperandRole.Input, Type, PoolPages, PageSize, ValueHeadDim, "valueHeadDim"),
        PageTable => CellPages.PageTable(Cells, Slots, PageSize, PoolPages),
        Centres => SlotList("centres"),
        CentreCounts => CellPages.Lengths(Cells, Slots) with { Name = "centreCounts" },
        Candidates => SlotList("candidates"),
        CandidateCounts => CellPages.Lengths(Cells, Slots) with { Name = "candidateCounts" },
        Nearest => new("nearest", OperandRole.Output, DataType.Int32, TensorLayout.Contiguous(Cells, Slots), "cells, slots"),
        Similarity => new("similarity", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Cells, Slots), "cells, slots"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * Cells * Slots * Slots * ((double)HeadDim + ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes => (double)Cells * Slots * (((double)HeadDim + ValueHeadDim) * Type.SizeInBytes() + 4 * sizeof(int));

    /// <inheritdoc/>
    public string? FindError() =>
        Cells < 0 || Slots < 0 || PoolPages < 0 ? "Sizes must not be negative."
        : AttentionProblem.FindHeadDimError(HeadDim, ValueHeadDim) is { } error ? error
        : float.IsNaN(Threshold) ? "The threshold must be a number."
        : !Type.IsFloat() ? $"Slots are compared in f32, f16 or bf16, not {Type.ToText()}."
        : CellPages.FindPageError(Slots, PageSize);

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheNearestProblem problem, ReadOnlySpan<RawView> operands) =>
        problem.FindListError(operands, Centres, CentreCounts) ?? problem.FindListError(operands, Candidates, CandidateCounts);

    /// <inheritdoc/>
    public static KvCacheNearestProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int headDim = text.TakeSize("d");
        return new KvCacheNearestProblem(
            text.TakeSize("cells", 1), text.TakeSize("n"), text.TakeSize("page"), text.TakeSize("pool"), headDim, text.TakeSize("dv", headDim),
            text.TakeNumber("tau", 0f), text.TakeType(DataType.Float32));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("cells", Cells), ProblemText.Word("n", Slots), ProblemText.Word("page", PageSize), ProblemText.Word("pool", PoolPages),
        ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim), ProblemText.Word("tau", Threshold, 0f), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private Operand SlotList(string name) => new(
        name, OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Cells, Slots), "cells, slots", Values: OperandValues.Below(Math.Max(1, Slots)));

    private string? FindListError(ReadOnlySpan<RawView> operands, int list, int counts)
    {
        for (int c = 0; c < Cells; c++)
        {
            int count = operands[counts].ReadInt32(c);
            if (count < 0 || count > Slots)
                return $"{GetOperand(counts).Name}[{c}] must be 0 to slots={Slots} but is {count}.";
            for (int i = 0; i < count; i++)
            {
                int slot = operands[list].ReadInt32(c, i);
                if ((uint)slot >= (uint)Slots)
                    return $"{GetOperand(list).Name}[{c}, {i}] must be 0 to {Slots - 1} but is {slot}.";
                if (operands[PageTable].ReadInt32(c, slot / PageSize) is var page && (uint)page >= (uint)PoolPages)
                    return $"pageTable[{c}, {slot / PageSize}] must be 0 to {PoolPages - 1} but is {page}.";
            }
        }
        return null;
    }
}
