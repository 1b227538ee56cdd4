using System.Globalization;
using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Scores of the slots of each cell of a cache from the attention that its query heads paid them (SnapKV, Li et al. 2024,
/// arXiv:2404.14469; H2O, Zhang et al. 2023, arXiv:2306.14048):
/// <code>
/// a_j = scale · aggregate over the heads of the group of columnMass[head, j]      j &lt; lengths[c] − recentCount
/// score_j = pool of a over j − ⌊poolSize / 2⌋ .. j + ⌊poolSize / 2⌋
/// </code>
/// The first sinkCount and the last recentCount slots are protected, +∞; slots from the length on are −∞. Text form:
/// <c>h=8 cells=2 n=4096 agg=max pool=max7 sinks=4 recent=32 scale=0.5</c>.
/// </summary>
/// <param name="NumHeads">Query heads (<c>h</c>), a multiple of the cells.</param>
/// <param name="Cells">Cells (<c>cells</c>, default 1).</param>
/// <param name="Slots">Slots that a cell has room for (<c>n</c>).</param>
/// <param name="Aggregate">How the heads of a group become one (<c>agg=mean</c>, the default, <c>max</c>, <c>sum</c>).</param>
/// <param name="Pooling">How neighbours are smoothed (<c>pool=avg5</c>, <c>pool=max7</c>; default none).</param>
/// <param name="PoolSize">Slots that are smoothed over, odd, 1 without smoothing.</param>
/// <param name="SinkCount">First slots that are protected (<c>sinks</c>, default 0).</param>
/// <param name="RecentCount">Last slots that are protected and not scored (<c>recent</c>, default 0).</param>
/// <param name="Scale">Factor on what is aggregated (<c>scale</c>, default 1).</param>
public readonly record struct KvCacheScoreProblem(
    int NumHeads, int Cells, int Slots, KvAggregate Aggregate = KvAggregate.Mean, KvPooling Pooling = KvPooling.None, int PoolSize = 1,
    int SinkCount = 0, int RecentCount = 0, float Scale = 1f) : IProblem<KvCacheScoreProblem>
{
    /// <summary>The largest pool.</summary>
    public const int MaxPoolSize = 1023;

    /// <summary>Index of the mass of each slot, f32 [numHeads, slots], as attention's weights sum it.</summary>
    public const int ColumnMass = 0;

    /// <summary>Index of the numbers of slots in use, i32 [cells].</summary>
    public const int Lengths = 1;

    /// <summary>Index of the scores, f32 [cells, slots].</summary>
    public const int Scores = 2;

    /// <summary>Query heads of a cell.</summary>
    public int GroupSize => Cells == 0 ? 0 : NumHeads / Cells;

    /// <inheritdoc/>
    public int OperandCount => 3;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        ColumnMass => new("columnMass", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(NumHeads, Slots), "numHeads, slots"),
        Lengths => CellPages.Lengths(Cells, Slots),
        Scores => new("scores", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Cells, Slots), "cells, slots"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => (double)Slots * (NumHeads + (double)Cells * PoolSize);

    /// <inheritdoc/>
    public double Bytes => 4.0 * Slots * ((double)NumHeads + Cells);

    /// <inheritdoc/>
    public string? FindError() =>
        NumHeads < 0 || Cells < 0 || Slots < 0 || SinkCount < 0 || RecentCount < 0 ? "Sizes must not be negative."
        : CellPages.FindHeadError(NumHeads, Cells) is { } headError ? headError
        : PoolSize is < 1 or > MaxPoolSize || PoolSize % 2 == 0 ? $"poolSize must be odd and 1 to {MaxPoolSize} but is {PoolSize}."
        : Pooling == KvPooling.None && PoolSize != 1 ? $"poolSize must be 1 without pooling but is {PoolSize}."
        : !Enum.IsDefined(Aggregate) || !Enum.IsDefined(Pooling) ? "The aggregate or the pooling is unknown."
        : !float.IsFinite(Scale) ? $"scale must be finite but is {Scale}."
        : null;

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheScoreProblem problem, ReadOnlySpan<RawView> operands) =>
        CellPages.FindLengthError(operands[Lengths], default, problem.Cells, problem.Slots, 1, 0);

    /// <inheritdoc/>
    public static KvCacheScoreProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int cells = text.TakeSize("cells", 1);
        string aggregate = text.TakeWord("agg", "mean"), pool = text.TakeWord("pool", "none");
        (KvPooling pooling, int poolSize) = ReadPool(pool);
        return new KvCacheScoreProblem(
            text.TakeSize("h", cells), cells, text.TakeSize("n"), aggregate switch
            {
                "mean" => KvAggregate.Mean,
                "max" => KvAggregate.Max,
                "sum" => KvAggregate.Sum,
                _ => throw new FormatException($"'agg' must be mean, max or sum but is '{aggregate}'."),
            },
            pooling, poolSize, text.TakeSize("sinks", 0), text.TakeSize("recent", 0), text.TakeNumber("scale", 1f));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("h", NumHeads), ProblemText.Word("cells", Cells), ProblemText.Word("n", Slots),
        Aggregate switch { KvAggregate.Max => "agg=max", KvAggregate.Sum => "agg=sum", _ => "" },
        ProblemText.Flag(string.Create(CultureInfo.InvariantCulture, $"pool={(Pooling == KvPooling.Max ? "max" : "avg")}{PoolSize}"),
            Pooling != KvPooling.None),
        ProblemText.Word("sinks", SinkCount, 0), ProblemText.Word("recent", RecentCount, 0), ProblemText.Word("scale", Scale, 1f));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private static (KvPooling Pooling, int PoolSize) ReadPool(string pool)
    {
        if (pool == "none")
            return (KvPooling.None, 1);
        string word = pool.Length > 3 ? pool[..3] : pool;
        return word is "avg" or "max" && int.TryParse(pool.AsSpan(3), NumberStyles.None, CultureInfo.InvariantCulture, out int size)
            ? (word == "avg" ? KvPooling.Mean : KvPooling.Max, size)
            : throw new FormatException($"'pool' must be none, or avg or max with a size as in avg5, but is '{pool}'.");
    }
}
