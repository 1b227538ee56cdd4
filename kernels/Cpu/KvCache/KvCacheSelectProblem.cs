using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Chooses the slots of each cell of a cache that are worth keeping. A cell is the cache of one key/value head of a layer.
/// <list type="bullet">
/// <item>Slot j of cell c counts when j &lt; lengths[c]. Slots stand in order of score, highest first; of equal scores the larger slot
/// comes first, then the lower cell. A NaN counts as −∞, and −0 equals 0.</item>
/// <item>The first budgets[c] slots of each cell are kept; pooled (AdaKV, Feng et al. 2024, arXiv:2407.11550), the first Σ budgets of
/// all cells together.</item>
/// <item>A score of +∞ protects: such slots are kept even when there are more than the budget.</item>
/// </list>
/// Comparisons are exact, so every kernel gives the same answer. Text form: <c>cells=8 n=4096 pooled</c>.
/// </summary>
/// <param name="Cells">Cells (<c>cells</c>, default 1).</param>
/// <param name="Slots">Slots that a cell has room for (<c>n</c>).</param>
/// <param name="IsPooled">The cells share their budgets (<c>pooled</c>).</param>
public readonly record struct KvCacheSelectProblem(int Cells, int Slots, bool IsPooled = false) : IProblem<KvCacheSelectProblem>
{
    /// <summary>Index of the scores, f32 [cells, slots].</summary>
    public const int Scores = 0;

    /// <summary>Index of the numbers of slots in use, i32 [cells].</summary>
    public const int Lengths = 1;

    /// <summary>Index of the numbers of slots to keep, i32 [cells].</summary>
    public const int Budgets = 2;

    /// <summary>Index of the slots that are kept, i32 [cells, slots]: ascending, −1 after the last.</summary>
    public const int Kept = 3;

    /// <summary>Index of their numbers, i32 [cells].</summary>
    public const int KeptCounts = 4;

    /// <inheritdoc/>
    public int OperandCount => 5;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Scores => new("scores", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Cells, Slots), "cells, slots"),
        Lengths => CellPages.Lengths(Cells, Slots),
        Budgets => CellPages.Lengths(Cells, Slots) with { Name = "budgets" },
        Kept => new("kept", OperandRole.Output, DataType.Int32, TensorLayout.Contiguous(Cells, Slots), "cells, slots"),
        KeptCounts => new("keptCounts", OperandRole.Output, DataType.Int32, TensorLayout.Contiguous(Cells), "cells"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => (double)Cells * Slots;

    /// <inheritdoc/>
    public double Bytes => 8.0 * Cells * Slots + 12.0 * Cells;

    /// <inheritdoc/>
    public string? FindError() => Cells < 0 || Slots < 0 ? "Sizes must not be negative." : null;

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheSelectProblem problem, ReadOnlySpan<RawView> operands)
    {
        if (CellPages.FindLengthError(operands[Lengths], default, problem.Cells, problem.Slots, 1, 0) is { } error)
            return error;
        for (int c = 0; c < problem.Cells; c++)
        {
            if (operands[Budgets].ReadInt32(c) is var budget && budget < 0)
                return $"budgets[{c}] must not be negative but is {budget}.";
        }
        return null;
    }

    /// <inheritdoc/>
    public static KvCacheSelectProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new KvCacheSelectProblem(text.TakeSize("cells", 1), text.TakeSize("n"), text.TakeFlag("pooled"));
    }

    /// <inheritdoc/>
    public string ToText() =>
        ProblemText.Join(ProblemText.Word("cells", Cells), ProblemText.Word("n", Slots), ProblemText.Flag("pooled", IsPooled));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
