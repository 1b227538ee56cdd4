using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

/// <summary>
/// How far rows are from the codewords that stand for them, and where the codewords should move (SPT, Gui et al. 2023, arXiv:2312.10365).
/// For each sub-vector z with the codewords Θ_k of its codebook, n elements in all rows together:
/// <code>
/// δ_k = max(Σ_c |z_c − Θ_kc|, 10⁻⁵)      w_k = (1/δ_k) / Σ_t (1/δ_t)      s = Σ_k w_k Θ_k      k* = the code of sparse-encode
/// loss = (1/n) Σ (s − Θ_k*)² + (z − Θ_k*)², over all sub-vectors and their components
/// </code>
/// The code is a constant; where δ is 10⁻⁵ its gradient is 0, and where z_c = Θ_kc the slope of the magnitude is −1. No rows have loss 0.
/// Text form: <c>b=1 n=512 h=8 d=64 dc=8 rowgrad bf16</c>.
/// </summary>
/// <param name="BatchSize">Sequences (<c>b</c>, default 1).</param>
/// <param name="Tokens">Tokens of a sequence (<c>n</c>).</param>
/// <param name="NumHeads">Heads (<c>h</c>, default 1).</param>
/// <param name="HeadDim">Elements of a row (<c>d</c>), 1 to 256.</param>
/// <param name="SubVectorSize">Elements of a sub-vector (<c>dc</c>), 1 to 64; the last may have fewer.</param>
/// <param name="HasRowGradient">Whether the rows get a gradient too (<c>rowgrad</c>); otherwise they are detached.</param>
/// <param name="Type">Storage of the rows and of their gradient (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct SparseCodebookProblem(
    int BatchSize, int Tokens, int NumHeads, int HeadDim, int SubVectorSize, bool HasRowGradient = false, DataType Type = DataType.Float32)
    : IProblem<SparseCodebookProblem>
{
    /// <summary>Index of the rows, [batchSize, tokens, numHeads, headDim].</summary>
    public const int Rows = 0;

    /// <summary>Index of the codebook, f32 [subVectors, 16, subVectorSize].</summary>
    public const int Codebook = 1;

    /// <summary>Index of the loss, f32 [1].</summary>
    public const int Loss = 2;

    /// <summary>Index of the codebook's gradient, f32 [subVectors, 16, subVectorSize]; 0 past the last component.</summary>
    public const int GradCodebook = 3;

    /// <summary>Index of the rows' gradient, [batchSize, tokens, numHeads, headDim].</summary>
    public const int GradRows = 4;

    /// <summary>The least distance that weights are made of.</summary>
    public const float LeastDistance = 1e-5f;

    /// <summary>The same rows and codebook, to be encoded.</summary>
    public SparseEncodeProblem Encode => new(BatchSize, Tokens, NumHeads, HeadDim, SubVectorSize, Type: Type);

    /// <summary>Sub-vectors of a row.</summary>
    public int SubVectors => Encode.SubVectors;

    /// <summary>Rows of all sequences and heads.</summary>
    public long RowCount => (long)BatchSize * Tokens * NumHeads;

    /// <inheritdoc/>
    public int OperandCount => 5;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Rows => Encode.GetOperand(SparseEncodeProblem.Rows),
        Codebook => Encode.GetOperand(SparseEncodeProblem.Codebook),
        Loss => new("loss", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(1), "one"),
        GradCodebook => SparseCodes.Codebook("gradCodebook", OperandRole.Output, SubVectors, SubVectorSize),
        GradRows => HasRowGradient
            ? Encode.GetOperand(SparseEncodeProblem.Rows) with { Name = "gradRows", Role = OperandRole.Output }
            : Operand.Absent("gradRows"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <summary>Distances, soft centroids, their slopes, and the gradients: 3, 2, 2 and 5 operations for each pair of an element and a codeword.</summary>
    public double Flops => 12.0 * SparseCodes.Codewords * RowCount * HeadDim;

    /// <inheritdoc/>
    public double Bytes => (double)RowCount * HeadDim * Type.SizeInBytes() * (HasRowGradient ? 2 : 1)
        + 2.0 * sizeof(float) * SparseCodes.Codewords * SubVectors * SubVectorSize;

    /// <inheritdoc/>
    public string? FindError() => Encode.FindError();

    /// <inheritdoc/>
    public static SparseCodebookProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new SparseCodebookProblem(
            text.TakeSize("b", 1), text.TakeSize("n"), text.TakeSize("h", 1), text.TakeSize("d"), text.TakeSize("dc"), text.TakeFlag("rowgrad"),
            text.TakeType(DataType.Float32));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("b", BatchSize), ProblemText.Word("n", Tokens), ProblemText.Word("h", NumHeads), ProblemText.Word("d", HeadDim),
        ProblemText.Word("dc", SubVectorSize), ProblemText.Flag("rowgrad", HasRowGradient), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
