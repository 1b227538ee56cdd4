using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Turns the stored keys of each cell on by a number of positions of their own (rotary embedding, Su et al. 2021, arXiv:2104.09864), as
/// rotations add up: a key at position p that is turned by s stands at p + s. In place, or into a second pool, which then holds
/// the turned copy of each slot at the same page and row.
/// <code>
/// target[c, j] = rotate(source[c, j], steps[c, j])        j &lt; lengths[c]
/// </code>
/// A step of 0 leaves a key as it is, whatever the tables hold. Text form: <c>cells=8 n=4096 page=32 pool=1024 d=128 rd=128 maxpos=4096 bf16</c>.
/// </summary>
/// <param name="Cells">Cells (<c>cells</c>, default 1).</param>
/// <param name="Slots">Slots that a cell's row of the page table has room for (<c>n</c>), a multiple of the page size.</param>
/// <param name="PageSize">Slots of a page (<c>page</c>).</param>
/// <param name="PoolPages">Pages in the pool (<c>pool</c>).</param>
/// <param name="HeadDim">Elements of a key (<c>d</c>), 1 to 256.</param>
/// <param name="RotaryDim">Elements of a key that turn, the first ones (<c>rd</c>, default d); even.</param>
/// <param name="MaxPosition">Positions of the tables (<c>maxpos</c>, default n): steps are shorter, in both directions.</param>
/// <param name="IsInterleaved">Pairs are neighbours (2i, 2i + 1) when set (<c>interleaved</c>), else (i, i + rotaryDim / 2).</param>
/// <param name="IsCopy">The turned keys go to a pool of their own (<c>copy</c>).</param>
/// <param name="Type">Storage of the keys (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct KvCacheRotateProblem(
    int Cells, int Slots, int PageSize, int PoolPages, int HeadDim, int RotaryDim, int MaxPosition, bool IsInterleaved = false,
    bool IsCopy = false, DataType Type = DataType.Float32) : IProblem<KvCacheRotateProblem>
{
    /// <summary>Index of the pool whose keys turn, or that takes the turned ones, [poolPages, pageSize, 1, headDim].</summary>
    public const int Target = 0;

    /// <summary>Index of the page table, i32 [cells, pages].</summary>
    public const int PageTable = 1;

    /// <summary>Index of the slots in use, i32 [cells].</summary>
    public const int Lengths = 2;

    /// <summary>Index of the positions to turn by, i32 [cells, slots].</summary>
    public const int Steps = 3;

    /// <summary>Index of the table of cosines, f32 [maxPosition, rotaryDim / 2].</summary>
    public const int Cos = 4;

    /// <summary>Index of the table of sines, f32 [maxPosition, rotaryDim / 2].</summary>
    public const int Sin = 5;

    /// <summary>Index of the pool of keys to copy, shaped as the target.</summary>
    public const int Source = 6;

    /// <inheritdoc/>
    public int OperandCount => 7;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Target => CellPages.Pool("target", OperandRole.InOut, Type, PoolPages, PageSize, HeadDim, "headDim"),
        PageTable => CellPages.PageTable(Cells, Slots, PageSize, PoolPages),
        Lengths => CellPages.Lengths(Cells, Slots),
        Steps => new("steps", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Cells, Slots), "cells, slots",
            Values: OperandValues.Between(1 - MaxPosition, MaxPosition - 1)),
        Cos => Table("cos"),
        Sin => Table("sin"),
        Source => IsCopy ? CellPages.Pool("source", OperandRole.Input, Type, PoolPages, PageSize, HeadDim, "headDim") : Operand.Absent("source"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 3.0 * Cells * Slots * RotaryDim;

    /// <inheritdoc/>
    public double Bytes => 2.0 * Cells * Slots * (IsCopy ? HeadDim : RotaryDim) * Type.SizeInBytes();

    /// <inheritdoc/>
    public string? FindError() =>
        Cells < 0 || Slots < 0 || PoolPages < 0 ? "Sizes must not be negative."
        : AttentionProblem.FindHeadDimError(HeadDim, HeadDim) is { } error ? error
        : RotaryDim < 0 || RotaryDim % 2 != 0 || RotaryDim > HeadDim ? $"rotaryDim must be even and at most headDim={HeadDim} but is {RotaryDim}."
        : MaxPosition < 1 ? "The tables need at least one position."
        : !Type.IsFloat() ? $"Keys that turn are stored in f32, f16 or bf16, not {Type.ToText()}."
        : CellPages.FindPageError(Slots, PageSize);

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheRotateProblem problem, ReadOnlySpan<RawView> operands)
    {
        if (CellPages.FindLengthError(
            operands[Lengths], operands[PageTable], problem.Cells, problem.Slots, problem.PageSize, problem.PoolPages) is { } error)
        {
            return error;
        }
        for (int c = 0; c < problem.Cells; c++)
        {
            for (int j = 0; j < operands[Lengths].ReadInt32(c); j++)
            {
                if (operands[Steps].ReadInt32(c, j) is var step && (step <= -problem.MaxPosition || step >= problem.MaxPosition))
                    return $"steps[{c}, {j}] must be within ±{problem.MaxPosition - 1}, the positions of the tables, but is {step}.";
            }
        }
        return null;
    }

    /// <inheritdoc/>
    public static KvCacheRotateProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int headDim = text.TakeSize("d"), slots = text.TakeSize("n");
        return new KvCacheRotateProblem(
            text.TakeSize("cells", 1), slots, text.TakeSize("page"), text.TakeSize("pool"), headDim, text.TakeSize("rd", headDim),
            text.TakeSize("maxpos", slots), text.TakeFlag("interleaved"), text.TakeFlag("copy"), text.TakeType(DataType.Float32));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("cells", Cells), ProblemText.Word("n", Slots), ProblemText.Word("page", PageSize), ProblemText.Word("pool", PoolPages),
        ProblemText.Word("d", HeadDim), ProblemText.Word("rd", RotaryDim, HeadDim), ProblemText.Word("maxpos", MaxPosition, Slots),
        ProblemText.Flag("interleaved", IsInterleaved), ProblemText.Flag("copy", IsCopy), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private Operand Table(string name) => new(
        name, OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(MaxPosition, RotaryDim / 2), "maxPosition, rotaryDim / 2");
}
