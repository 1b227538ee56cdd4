using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Attention of one token's queries over the cells of a cache that reads few values (selective value loading, as in Sigma's DiffQKV,
/// Lin et al. 2025, arXiv:2501.13629): all scores are computed, and the values of the largest weights alone are read.
/// <code>
/// s_hj = scale · q_h·k_j        lse_h = ln Σ_j exp(s_hj)        p_hj = exp(s_hj − lse_h)
/// kept = union over the heads of a group of each head's keepCount largest s_hj, the later slot of equals
/// output_h = Σ_kept p_hj v_j, divided by Σ_kept p_hj when renormalised
/// </code>
/// The error is at most (1 − Σ_kept p) · max‖v‖, and none when keepCount reaches the length. An empty cell gives 0 and an lse of −∞.
/// Text form: <c>h=32 cells=8 n=32768 page=32 pool=8192 d=128 keep=100 bf16</c>.
/// </summary>
/// <param name="NumHeads">Query heads (<c>h</c>, default cells), a multiple of the cells.</param>
/// <param name="Cells">Cells, one a key/value head (<c>cells</c>, default 1).</param>
/// <param name="Slots">Slots that a cell's row of the page table has room for (<c>n</c>), a multiple of the page size.</param>
/// <param name="PageSize">Slots of a page (<c>page</c>).</param>
/// <param name="PoolPages">Pages in the pools (<c>pool</c>).</param>
/// <param name="HeadDim">Elements of a key (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="KeepCount">How many weights each head keeps (<c>keep</c>), at least 1.</param>
/// <param name="Scale">Factor on query · key (<c>scale</c>, default 1/√headDim).</param>
/// <param name="IsRenormalised">Whether the weights that are kept sum to 1 (<c>renormalised</c>).</param>
/// <param name="Type">Storage of the pools (<c>f32</c>, <c>f16</c>, <c>bf16</c>, <c>i8</c>).</param>
public readonly record struct AttentionDecodeSelectiveProblem(
    int NumHeads, int Cells, int Slots, int PageSize, int PoolPages, int HeadDim, int ValueHeadDim, int KeepCount, float Scale,
    bool IsRenormalised = false, DataType Type = DataType.Float32) : IProblem<AttentionDecodeSelectiveProblem>
{
    /// <summary>Index of the queries, f32 [numHeads, headDim].</summary>
    public const int Query = 0;

    /// <summary>Index of the pool of keys, [poolPages, pageSize, 1, headDim].</summary>
    public const int Key = 1;

    /// <summary>Index of the pool of values, [poolPages, pageSize, 1, valueHeadDim].</summary>
    public const int Value = 2;

    /// <summary>Index of the page table, i32 [cells, pages].</summary>
    public const int PageTable = 3;

    /// <summary>Index of the numbers of slots in use, i32 [cells].</summary>
    public const int Lengths = 4;

    /// <summary>Index of the output, f32 [numHeads, valueHeadDim].</summary>
    public const int Output = 5;

    /// <summary>Index of the log-sum-exp of all scores, natural log, f32 [numHeads], written if present.</summary>
    public const int Lse = 6;

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
        Query => new("query", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(NumHeads, HeadDim), "numHeads, headDim"),
        Key => CellPages.Pool("key", OperandRole.Input, Type, PoolPages, PageSize, HeadDim, "headDim"),
        Value => CellPages.Pool("value", OperandRole.Input, Type, PoolPages, PageSize, ValueHeadDim, "valueHeadDim"),
        PageTable => CellPages.PageTable(Cells, Slots, PageSize, PoolPages),
        Lengths => CellPages.Lengths(Cells, Slots),
        Output => new("output", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(NumHeads, ValueHeadDim),
            "numHeads, valueHeadDim"),
        Lse => new("lse", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(NumHeads), "numHeads", IsOptional: true),
        KeyScale => CellPages.Scales("keyScale", OperandRole.Input, Type, PoolPages, PageSize),
        ValueScale => CellPages.Scales("valueScale", OperandRole.Input, Type, PoolPages, PageSize),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * NumHeads * ((double)Slots * HeadDim + (double)KeptRows * ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes => (double)Cells * ((double)Slots * HeadDim + (double)KeptRows * ValueHeadDim) * Type.SizeInBytes()
        + 4.0 * NumHeads * ((double)HeadDim + ValueHeadDim);

    /// <inheritdoc/>
    public string? FindError() =>
        NumHeads < 0 || Cells < 0 || Slots < 0 || PoolPages < 0 ? "Sizes must not be negative."
        : CellPages.FindHeadError(NumHeads, Cells) is { } headError ? headError
        : AttentionProblem.FindHeadDimError(HeadDim, ValueHeadDim) is { } error ? error
        : KeepCount < 1 ? $"keepCount must be at least 1 but is {KeepCount}."
        : !(float.IsFinite(Scale) && Scale > 0) ? $"scale must be finite and above 0 but is {Scale}."
        : CellPages.FindPageError(Slots, PageSize) ?? CellPages.FindTypeError(Type);

    /// <inheritdoc/>
    public static string? FindContentError(in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<RawView> operands) =>
        CellPages.FindLengthError(
            operands[Lengths], operands[PageTable], problem.Cells, problem.Slots, problem.PageSize, problem.PoolPages);

    /// <inheritdoc/>
    public static AttentionDecodeSelectiveProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int cells = text.TakeSize("cells", 1), headDim = text.TakeSize("d");
        return new AttentionDecodeSelectiveProblem(
            text.TakeSize("h", cells), cells, text.TakeSize("n"), text.TakeSize("page"), text.TakeSize("pool"), headDim,
            text.TakeSize("dv", headDim), text.TakeSize("keep"), text.TakeNumber("scale", DefaultScale(headDim)),
            text.TakeFlag("renormalised"), CellPages.TakeType(text));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("h", NumHeads), ProblemText.Word("cells", Cells), ProblemText.Word("n", Slots), ProblemText.Word("page", PageSize),
        ProblemText.Word("pool", PoolPages), ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim),
        ProblemText.Word("keep", KeepCount), ProblemText.Word("scale", Scale, DefaultScale(HeadDim)),
        ProblemText.Flag("renormalised", IsRenormalised), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();

    // The fewest values that a cell reads: its heads may all keep the same slots.
    private int KeptRows => Math.Min(Slots, KeepCount);

    private static float DefaultScale(int headDim) => 1f / MathF.Sqrt(headDim);
}
