namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Codes of product quantisation (Jégou et al. 2011, doi:10.1109/TPAMI.2010.57): a row is cut into sub-vectors, and each is stood for by
/// the number of one of the 16 codewords that its sub-vector's codebook has. Eight codes of 4 bits lie in a word, the first in the
/// lowest bits; bits past the last code are not read.
/// </summary>
internal static class SparseCodes
{
    /// <summary>Codewords of a sub-vector.</summary>
    public const int Codewords = 16;

    /// <summary>Codes of a word.</summary>
    public const int CodesPerWord = 8;

    /// <summary>The most sub-vectors of a row.</summary>
    public const int MaxSubVectors = 32;

    /// <summary>The most elements of a sub-vector.</summary>
    public const int MaxSubVectorSize = 64;

    /// <summary>Bits of a code.</summary>
    public const int CodeBits = 4;

    /// <summary>Words that the codes of a row take.</summary>
    public static int WordsOf(int subVectors) => (subVectors + CodesPerWord - 1) / CodesPerWord;

    /// <summary>The code of a sub-vector.</summary>
    public static unsafe int Read(int* words, int subVector) =>
        (words[subVector / CodesPerWord] >> (subVector % CodesPerWord * CodeBits)) & (Codewords - 1);

    /// <summary>The bits that a code sets in the word of its sub-vector.</summary>
    public static int Place(int code, int subVector) => code << (subVector % CodesPerWord * CodeBits);

    /// <summary>The codes of rows, i32 [batchSize, heads, tokens, words].</summary>
    public static Operand Operand(string name, OperandRole role, int batchSize, int heads, int tokens, int subVectors, string dimensionNames) =>
        new(name, role, DataType.Int32, TensorLayout.Contiguous(batchSize, heads, tokens, WordsOf(subVectors)),
            dimensionNames, Values: OperandValues.Between(int.MinValue, int.MaxValue));

    /// <summary>The codebook, f32 [subVectors, 16, subVectorSize].</summary>
    public static Operand Codebook(string name, OperandRole role, int subVectors, int subVectorSize) =>
        new(name, role, DataType.Float32, TensorLayout.Contiguous(subVectors, Codewords, subVectorSize), "subVectors, codewords, subVectorSize");

    /// <summary>Null when rows can be cut into sub-vectors of this size.</summary>
    public static string? FindSubVectorError(int headDim, int subVectorSize) =>
        AttentionProblem.FindHeadDimError(headDim, headDim) is { } error ? error
        : subVectorSize is < 1 or > MaxSubVectorSize ? $"A sub-vector has 1 to {MaxSubVectorSize} elements but subVectorSize={subVectorSize}."
        : (headDim + subVectorSize - 1) / subVectorSize > MaxSubVectors
            ? $"A row has at most {MaxSubVectors} sub-vectors, but headDim={headDim} makes more of subVectorSize={subVectorSize}."
        : null;
}
