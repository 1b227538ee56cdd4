using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Scores of the slots of each cell of a cache by the attention that queries to come are expected to pay them (ExpectedAttention, Devoto
/// et al. 2025, arXiv:2510.00636). Queries of head h are taken as normally distributed, with mean μ and covariance Σ at their future
/// positions:
/// <code>
/// z_hj = scale · k_j·μ_h + scale² / 2 · k_jᵀ Σ_h k_j        a_hj = softmax of z_h over the slots from sinkCount on
/// score_j = (mean of a_hj over the heads of the group + epsilon) · ‖v_j‖
/// </code>
/// The first sinkCount slots are protected, +∞, and take no part in the softmax; slots from the length on are −∞. Text form:
/// <c>h=32 cells=8 n=4096 page=32 pool=1024 d=128 sinks=4 bf16</c>.
/// </summary>
/// <param name="NumHeads">Query heads (<c>h</c>, default cells), a multiple of the cells.</param>
/// <param name="Cells">Cells (<c>cells</c>, default 1).</param>
/// <param name="Slots">Slots that a cell's row of the page table has room for (<c>n</c>), a multiple of the page size.</param>
/// <param name="PageSize">Slots of a page (<c>page</c>).</param>
/// <param name="PoolPages">Pages in the pools (<c>pool</c>).</param>
/// <param name="HeadDim">Elements of a key (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value (<c>dv</c>, default d).</param>
/// <param name="Scale">Factor on query · key (<c>scale</c>, default 1/√headDim).</param>
/// <param name="Epsilon">Added to the attention of every slot (<c>eps</c>, default 0).</param>
/// <param name="SinkCount">First slots that are protected (<c>sinks</c>, default 0).</param>
/// <param name="Type">Storage of the pools (<c>f32</c>, <c>f16</c>, <c>bf16</c>, <c>i8</c>).</param>
public readonly record struct KvCacheExpectProblem(
    int NumHeads, int Cells, int Slots, int PageSize, int PoolPages, int HeadDim, int ValueHeadDim, float Scale, float Epsilon = 0f,
    int SinkCount = 0, DataType Type = DataType.Float32) : IProblem<KvCacheExpectProblem>
{
    /// <summary>Index of the means of the queries, f32 [numHeads, headDim].</summary>
    public const int QueryMean = 0;

    /// <summary>Index of their covariances, f32 [numHeads, headDim, headDim].</summary>
    public const int QueryCovariance = 1;

    /// <summary>Index of the pool of keys, [poolPages, pageSize, 1, headDim].</summary>
    public const int Key = 2;

    /// <summary>Index of the pool of values, [poolPages, pageSize, 1, valueHeadDim].</summary>
    public const int Value = 3;

    /// <summary>Index of the page table, i32 [cells, pages].</summary>
    public const int PageTable = 4;

    /// <summary>Index of the numbers of slots in use, i32 [cells].</summary>
    public const int Lengths = 5;

    /// <summary>Index of the scores, f32 [cells, slots].</summary>
    public const int Scores = 6;

    /// <summary>Index of the scales of i8 keys, f32 [poolPages, 1, pageSize].</summary>
    public const int KeyScale = 7;

    /// <summary>Index of the scales of i8 values, f32 [poolPages, 1, pageSize].</summary>
    public const int ValueScale = 8;

    /// <summary>Query heads of a cell.</summary>
    public int GroupSize => Cells == 0 ? 0 : NumHeads / Cells;

    /// <inheritdoc/>
    public int OperandCount => 9;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        QueryMean => new("queryMean", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(NumHeads, HeadDim), "numHeads, headDim"),
        QueryCovariance => new("queryCovariance", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(NumHeads, HeadDim, HeadDim),
            "numHeads, headDim, headDim"),
        Key => CellPages.Pool("key", OperandRole.Input, Type, PoolPages, PageSize, HeadDim, "headDim"),
        Value => CellPages.Pool("value", OperandRole.Input, Type, PoolPages, PageSize, ValueHeadDim, "valueHeadDim"),
        PageTable => CellPages.PageTable(Cells, Slots, PageSize, PoolPages),
        Lengths => CellPages.Lengths(Cells, Slots),
        Scores => new("scores", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Cells, Slots), "cells, slots"),
        KeyScale => CellPages.Scales("keyScale", OperandRole.Input, Type, PoolPages, PageSize),
        ValueScale => CellPages.Scales("valueScale", OperandRole.Input, Type, PoolPages, PageSize),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * NumHeads * Slots * HeadDim * (HeadDim + 2.0) + 2.0 * Cells * Slots * ValueHeadDim;

    /// <inheritdoc/>
    public double Bytes => (double)Cells * Slots * (((double)HeadDim + ValueHeadDim) * Type.SizeInBytes() + 4)
        + 4.0 * NumHeads * HeadDim * (HeadDim + 1.0);

    /// <inheritdoc/>
    public string? FindError() =>
        NumHeads < 0 || Cells < 0 || Slots < 0 || PoolPages < 0 || SinkCount < 0 ? "Sizes must not be negative."
        : CellPages.FindHeadError(NumHeads, Cells) is { } headError ? headError
        : HeadDim is < 1 or > AttentionProblem.MaxHeadDim ? $"headDim must be 1 to {AttentionProblem.MaxHeadDim} but is {HeadDim}."
        : ValueHeadDim < 1 ? "Values need at least one element."
        : !float.IsFinite(Scale) || !float.IsFinite(Epsilon) ? "scale and epsilon must be finite."
        : CellPages.FindPageError(Slots, PageSize) ?? CellPages.FindTypeError(Type);

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheExpectProblem problem, ReadOnlySpan<RawView> operands) => CellPages.FindLengthError(
        operands[Lengths], operands[PageTable], problem.Cells, problem.Slots, problem.PageSize, problem.PoolPages);

    /// <inheritdoc/>
    public static KvCacheExpectProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int cells = text.TakeSize("cells", 1), headDim = text.TakeSize("d");
        return new KvCacheExpectProblem(
            text.TakeSize("h", cells), cells, text.TakeSize("n"), text.TakeSize("page"), text.TakeSize("pool"), headDim,
            text.TakeSize("dv", headDim),
            text.TakeNumber("scale", DefaultScale(headDim)), text.TakeNumber("eps", 0f), text.TakeSize("sinks", 0),
            CellPages.TakeType(text));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("h", NumHeads), ProblemText.Word("cells", Cells), ProblemText.Word("n", Slots), ProblemText.Word("page", PageSize),
        ProblemText.Word("pool", PoolPages), ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim),
        ProblemText.Word("scale", Scale, DefaultScale(HeadDim)), ProblemText.Word("eps", Epsilon, 0f),
        ProblemText.Word("sinks", SinkCount, 0),
        Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private static float DefaultScale(int headDim) => 1f / MathF.Sqrt(headDim);
}
