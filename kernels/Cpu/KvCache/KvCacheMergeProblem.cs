using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Merges slots of each cell into others, in place. For each slot c with members M = { t : targets[t] = c }:
/// <code>
/// W = w_c + Σ w_t        value_c = (w_c · value_c + Σ w_t · value_t) / W        weights[c] = W
/// key_c = (w_c · key_c + Σ w_t · key_t) / W, or by direction ‖key_c‖ · normalise(w_c · key_c / ‖key_c‖ + Σ w_t · key_t / ‖key_t‖)
/// </code>
/// A key of norm 0 has no direction and adds none; where no direction is left, or W = 0, the slot keeps what it holds. Members keep
/// what they hold as well. Text form: <c>cells=2 n=64 page=32 pool=8 d=64 directions bf16</c>.
/// </summary>
/// <param name="Cells">Cells (<c>cells</c>, default 1).</param>
/// <param name="Slots">Slots that a cell's row of the page table has room for (<c>n</c>), a multiple of the page size.</param>
/// <param name="PageSize">Slots of a page (<c>page</c>).</param>
/// <param name="PoolPages">Pages in the pools (<c>pool</c>).</param>
/// <param name="HeadDim">Elements of a key (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="IsByDirection">Directions of keys are averaged, and lengths kept (<c>directions</c>).</param>
/// <param name="Type">Storage of the pools (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct KvCacheMergeProblem(
    int Cells, int Slots, int PageSize, int PoolPages, int HeadDim, int ValueHeadDim, bool IsByDirection = false,
    DataType Type = DataType.Float32) : IProblem<KvCacheMergeProblem>
{
    /// <summary>Index of the pool of keys, [poolPages, pageSize, 1, headDim].</summary>
    public const int Key = 0;

    /// <summary>Index of the pool of values, [poolPages, pageSize, 1, valueHeadDim].</summary>
    public const int Value = 1;

    /// <summary>Index of the page table, i32 [cells, pages].</summary>
    public const int PageTable = 2;

    /// <summary>Index of the slots in use, i32 [cells].</summary>
    public const int Lengths = 3;

    /// <summary>Index of the slot that each slot is merged into, i32 [cells, slots]; −1 for none.</summary>
    public const int Targets = 4;

    /// <summary>Index of the weights, f32 [cells, slots]; those of targets become the sums.</summary>
    public const int Weights = 5;

    /// <inheritdoc/>
    public int OperandCount => 6;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Key => CellPages.Pool("key", OperandRole.InOut, Type, PoolPages, PageSize, HeadDim, "headDim"),
        Value => CellPages.Pool("value", OperandRole.InOut, Type, PoolPages, PageSize, ValueHeadDim, "valueHeadDim"),
        PageTable => CellPages.PageTable(Cells, Slots, PageSize, PoolPages),
        Lengths => CellPages.Lengths(Cells, Slots),
        Targets => new("targets", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Cells, Slots), "cells, slots",
            Values: OperandValues.Targets(Slots)),
        Weights => new("weights", OperandRole.InOut, DataType.Float32, TensorLayout.Contiguous(Cells, Slots), "cells, slots",
            Values: OperandValues.Positive),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * Cells * Slots * ((double)HeadDim + ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes => (double)Cells * Slots * (((double)HeadDim + ValueHeadDim) * Type.SizeInBytes() + 2 * sizeof(int));

    /// <inheritdoc/>
    public string? FindError() =>
        Cells < 0 || Slots < 0 || PoolPages < 0 ? "Sizes must not be negative."
        : AttentionProblem.FindHeadDimError(HeadDim, ValueHeadDim) is { } error ? error
        : !Type.IsFloat() ? $"Slots that merge are stored in f32, f16 or bf16, not {Type.ToText()}."
        : CellPages.FindPageError(Slots, PageSize);

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheMergeProblem problem, ReadOnlySpan<RawView> operands)
    {
        RawView lengths = operands[Lengths], targets = operands[Targets], weights = operands[Weights];
        if (CellPages.FindLengthError(lengths, operands[PageTable], problem.Cells, problem.Slots, problem.PageSize, problem.PoolPages) is { } error)
            return error;
        for (int c = 0; c < problem.Cells; c++)
        {
            int length = lengths.ReadInt32(c);
            for (int t = 0; t < length; t++)
            {
                int target = targets.ReadInt32(c, t);
                if (target >= length || target < -1)
                    return $"targets[{c}, {t}] must be a slot below lengths[{c}]={length}, or −1, but is {target}.";
                if (target >= 0 && target != t && targets.ReadInt32(c, target) is var next && next >= 0 && next != target)
                    return $"targets[{c}, {t}] is slot {target}, which is merged into slot {next} itself.";
                if (!(BitConverter.Int32BitsToSingle(weights.ReadInt32(c, t)) is >= 0 and var weight && float.IsFinite(weight)))
                    return $"weights[{c}, {t}] must be finite and not negative.";
            }
        }
        return null;
    }

    /// <inheritdoc/>
    public static KvCacheMergeProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int headDim = text.TakeSize("d");
        return new KvCacheMergeProblem(
            text.TakeSize("cells", 1), text.TakeSize("n"), text.TakeSize("page"), text.TakeSize("pool"), headDim, text.TakeSize("dv", headDim),
            text.TakeFlag("directions"), text.TakeType(DataType.Float32));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("cells", Cells), ProblemText.Word("n", Slots), ProblemText.Word("page", PageSize), ProblemText.Word("pool", PoolPages),
        ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim), ProblemText.Flag("directions", IsByDirection), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
