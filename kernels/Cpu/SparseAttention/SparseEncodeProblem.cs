using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

/// <summary>
/// Product quantisation of queries or keys, as sparse attention compares them (SPT, Gui et al. 2023, arXiv:2312.10365):
/// <code>
/// z_m = row[m · subVectorSize ..], cut off at headDim
/// code_m = arg min_k Σ_c |z_mc − codebook[m, k, c]|        or, with l2, Σ_c (z_mc − codebook[m, k, c])²; of equals the lowest k
/// </code>
/// Distances are sums in float32 in the order of c, so that all kernels choose alike. One that is NaN or infinite is never the least:
/// the code is 0 where all are. Text form: <c>b=1 n=8192 h=8 d=64 dc=8 l2 bf16</c>.
/// </summary>
/// <param name="BatchSize">Sequences (<c>b</c>, default 1).</param>
/// <param name="Tokens">Tokens of a sequence (<c>n</c>).</param>
/// <param name="NumHeads">Heads (<c>h</c>, default 1).</param>
/// <param name="HeadDim">Elements of a row (<c>d</c>), 1 to 256.</param>
/// <param name="SubVectorSize">Elements of a sub-vector (<c>dc</c>), 1 to 64; the last may have fewer.</param>
/// <param name="IsEuclidean">Whether differences are squared (<c>l2</c>).</param>
/// <param name="Type">Storage of the rows (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct SparseEncodeProblem(
    int BatchSize, int Tokens, int NumHeads, int HeadDim, int SubVectorSize, bool IsEuclidean = false, DataType Type = DataType.Float32)
    : IProblem<SparseEncodeProblem>
{
    /// <summary>Codewords of a sub-vector.</summary>
    public const int Codewords = SparseCodes.Codewords;

    /// <summary>Words that the codes of a row take.</summary>
    public static int WordsOf(int subVectors) => SparseCodes.WordsOf(subVectors);

    /// <summary>Index of the rows, [batchSize, tokens, numHeads, headDim].</summary>
    public const int Rows = 0;

    /// <summary>Index of the codebook, f32 [subVectors, 16, subVectorSize].</summary>
    public const int Codebook = 1;

    /// <summary>Index of the codes, i32 [batchSize, numHeads, tokens, words], eight of 4 bits a word, the first in the lowest bits; 0 past the last.</summary>
    public const int Codes = 2;

    /// <summary>Sub-vectors of a row.</summary>
    public int SubVectors => (HeadDim + SubVectorSize - 1) / Math.Max(1, SubVectorSize);

    /// <inheritdoc/>
    public int OperandCount => 3;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Rows => new("rows", OperandRole.Input, Type, TensorLayout.Contiguous(BatchSize, Tokens, NumHeads, HeadDim), "batchSize, tokens, numHeads, headDim"),
        Codebook => SparseCodes.Codebook("codebook", OperandRole.Input, SubVectors, SubVectorSize),
        Codes => SparseCodes.Operand("codes", OperandRole.Output, BatchSize, NumHeads, Tokens, SubVectors, "batchSize, numHeads, tokens, words"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 3.0 * SparseCodes.Codewords * BatchSize * Tokens * NumHeads * HeadDim;

    /// <inheritdoc/>
    public double Bytes => (double)BatchSize * Tokens * NumHeads * ((double)HeadDim * Type.SizeInBytes() + sizeof(int) * SparseCodes.WordsOf(SubVectors))
        + (double)sizeof(float) * SparseCodes.Codewords * SubVectors * SubVectorSize;

    /// <inheritdoc/>
    public string? FindError() =>
        BatchSize < 0 || Tokens < 0 || NumHeads < 0 ? "Sizes must not be negative."
        : !Type.IsFloat() ? $"Rows are f32, f16 or bf16, not {Type.ToText()}."
        : SparseCodes.FindSubVectorError(HeadDim, SubVectorSize);

    /// <inheritdoc/>
    public static SparseEncodeProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new SparseEncodeProblem(
            text.TakeSize("b", 1), text.TakeSize("n"), text.TakeSize("h", 1), text.TakeSize("d"), text.TakeSize("dc"), text.TakeFlag("l2"),
            text.TakeType(DataType.Float32));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("b", BatchSize), ProblemText.Word("n", Tokens), ProblemText.Word("h", NumHeads), ProblemText.Word("d", HeadDim),
        ProblemText.Word("dc", SubVectorSize), ProblemText.Flag("l2", IsEuclidean), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
