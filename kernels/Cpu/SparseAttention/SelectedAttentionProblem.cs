using KernelEngine.Kernels.Cpu.Primitives;
using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

/// <summary>
/// Attention of each query row over the keys that have the most codes in common with it (SPT, Gui et al. 2023, arXiv:2312.10365):
/// <see cref="SparseSelectProblem"/> says which keys those are, <see cref="SparseAttentionProblem"/> what is computed of them. No lists are
/// given, and none are given back.
/// Text form: <c>b=1 h=8 q=8192 k=8192 m=8 l=1024 causal recent=1 d=64 f32</c>.
/// </summary>
/// <param name="Selection">Which keys: sizes, codes, causality. Its lists' type is that of the lists that a kernel may make.</param>
/// <param name="HeadDim">Elements of a query or key (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="SoftmaxScale">Factor on query · key (<c>scale</c>); null for 1/√headDim.</param>
/// <param name="Type">Storage of all but codes and lse (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct SelectedAttentionProblem(
    SparseSelectProblem Selection, int HeadDim, int ValueHeadDim, float? SoftmaxScale = null, DataType Type = DataType.Float32)
    : IProblem<SelectedAttentionProblem>
{
    /// <summary>Index of the query, [batchSize, queryLength, numHeads, headDim].</summary>
    public const int Query = 0;

    /// <summary>Index of the key, [batchSize, kvLength, numKvHeads, headDim].</summary>
    public const int Key = 1;

    /// <summary>Index of the value, [batchSize, kvLength, numKvHeads, valueHeadDim].</summary>
    public const int Value = 2;

    /// <summary>Index of the queries' codes, i32 [batchSize, numHeads, queryLength, words].</summary>
    public const int QueryCodes = 3;

    /// <summary>Index of the keys' codes, i32 [batchSize, numKvHeads, kvLength, words].</summary>
    public const int KeyCodes = 4;

    /// <summary>Index of the lengths, i32 [batchSize].</summary>
    public const int KvLengths = 5;

    /// <summary>Index of the output, [batchSize, queryLength, numHeads, valueHeadDim].</summary>
    public const int Output = 6;

    /// <summary>Index of the log-sum-exp, natural log, f32 [batchSize, numHeads, queryLength], written if present.</summary>
    public const int Lse = 7;

    /// <summary>Scores x become softCap · tanh(x / softCap) (<c>softcap</c>); 0 for no cap.</summary>
    public float LogitSoftCap { get; init; }

    /// <summary>Attention over the lists.</summary>
    public SparseAttentionProblem Attention => new(
        Selection.BatchSize, Selection.NumHeads, Selection.NumKvHeads, Selection.IndexHeads, Selection.QueryLength, Selection.KvLength, HeadDim,
        ValueHeadDim, Selection.Capacity, SoftmaxScale, Type)
    {
        LogitSoftCap = LogitSoftCap,
        ColumnType = Selection.ColumnType,
    };

    /// <inheritdoc/>
    public int OperandCount => 8;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Query => Attention.GetOperand(SparseAttentionProblem.Query),
        Key => Attention.GetOperand(SparseAttentionProblem.Key),
        Value => Attention.GetOperand(SparseAttentionProblem.Value),
        QueryCodes => Selection.GetOperand(SparseSelectProblem.QueryCodes),
        KeyCodes => Selection.GetOperand(SparseSelectProblem.KeyCodes),
        KvLengths => Selection.GetOperand(SparseSelectProblem.KvLengths),
        Output => Attention.GetOperand(SparseAttentionProblem.Output),
        Lse => Attention.GetOperand(SparseAttentionProblem.Lse),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <summary>Multiplications and additions of attention; comparing codes is not counted.</summary>
    public double Flops => Attention.Flops;

    /// <inheritdoc/>
    public double Bytes =>
        (Attention with { Capacity = 0 }).Bytes + (Selection with { Capacity = 0, Sinks = 0, Recent = 0 }).Bytes; // no lists

    /// <inheritdoc/>
    public string? FindError() => Selection.FindError() ?? Attention.FindError();

    /// <inheritdoc/>
    public static string? FindContentError(in SelectedAttentionProblem problem, ReadOnlySpan<RawView> operands) =>
        SparseSelectProblem.FindContentError(problem.Selection, [default, default, operands[KvLengths]]);

    /// <inheritdoc/>
    public static SelectedAttentionProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        SparseSelectProblem selection = SparseSelectProblem.Read(text);
        int headDim = text.TakeSize("d");
        float scale = text.TakeNumber("scale", float.NaN);
        return new SelectedAttentionProblem(
            selection, headDim, text.TakeSize("dv", headDim), float.IsNaN(scale) ? null : scale, text.TakeType(DataType.Float32))
        {
            LogitSoftCap = text.TakeNumber("softcap", 0),
        };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        Selection.ToText(), ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim),
        SoftmaxScale is { } scale ? ProblemText.Word("scale", scale) : "", ProblemText.Word("softcap", LogitSoftCap, 0f), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
