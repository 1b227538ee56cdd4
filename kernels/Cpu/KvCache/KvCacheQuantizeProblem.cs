using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Turns whole pages of floating-point keys and values into pages of codes (Liu et al. 2024, KIVI, arXiv:2402.02750). For each channel of
/// a page of keys, and for each 32 channels of a value, with L = 2^bits − 1:
/// <code>
/// minimum = min x, rounded down        scale = (max x − minimum) / L, rounded up        both f16
/// code = ⌊(x − minimum) / scale + 1/2⌋, 0 when scale = 0                               the difference rounded to f32
/// </code>
/// so that |code · scale + minimum − x| ≤ scale / 2. A NaN counts as 0, and what f16 cannot hold as ±65504. Target pages must be distinct.
/// Codes lie in a row one after another, the first in the lowest bits of the first byte. Text form:
/// <c>pages=3 page=32 pool=8 codepool=8 d=64 bits=4 bf16</c>.
/// </summary>
/// <param name="Pages">Pages to do (<c>pages</c>).</param>
/// <param name="PageSize">Slots of a page (<c>page</c>).</param>
/// <param name="PoolPages">Pages in the floating-point pools (<c>pool</c>).</param>
/// <param name="CodePoolPages">Pages in the pools of codes (<c>codepool</c>).</param>
/// <param name="HeadDim">Elements of a key (<c>d</c>), 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value (<c>dv</c>, default d), 1 to 256.</param>
/// <param name="Bits">Bits of a code (<c>bits</c>): 2, 4 or 8.</param>
/// <param name="Type">Storage of the floating-point pools (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct KvCacheQuantizeProblem(
    int Pages, int PageSize, int PoolPages, int CodePoolPages, int HeadDim, int ValueHeadDim, int Bits, DataType Type = DataType.Float32)
    : IProblem<KvCacheQuantizeProblem>
{
    /// <summary>Index of the pool of keys, [poolPages, pageSize, 1, headDim].</summary>
    public const int Key = 0;

    /// <summary>Index of the pool of values, [poolPages, pageSize, 1, valueHeadDim].</summary>
    public const int Value = 1;

    /// <summary>Index of the pages to read, i32 [pages].</summary>
    public const int SourcePages = 2;

    /// <summary>Index of the pages to write, i32 [pages].</summary>
    public const int TargetPages = 3;

    /// <summary>Index of the codes of keys, i8 [codePages, pageSize, headDim · bits / 8].</summary>
    public const int KeyCodes = 4;

    /// <summary>Index of the scales of the channels of keys, f16 [codePages, headDim].</summary>
    public const int KeyScale = 5;

    /// <summary>Index of their minima, shaped as the scales.</summary>
    public const int KeyMinimum = 6;

    /// <summary>Index of the codes of values, i8 [codePages, pageSize, valueHeadDim · bits / 8].</summary>
    public const int ValueCodes = 7;

    /// <summary>Index of the scales of values, f16 [codePages, pageSize, ⌈valueHeadDim / 32⌉].</summary>
    public const int ValueScale = 8;

    /// <summary>Index of their minima, shaped as the scales.</summary>
    public const int ValueMinimum = 9;

    /// <inheritdoc/>
    public int OperandCount => KeyCodes + CodePages.Count;

    /// <summary>The pages of codes.</summary>
    public CodePages Codes => new(CodePoolPages, PageSize, HeadDim, ValueHeadDim, Bits);

    /// <inheritdoc/>
    public Operand GetOperand(int index) => GetOperand(index, isBack: false);

    /// <inheritdoc/>
    public double Flops => 2.0 * Pages * PageSize * ((double)HeadDim + ValueHeadDim);

    /// <inheritdoc/>
    public double Bytes => Pages * (((double)HeadDim + ValueHeadDim) * PageSize * Type.SizeInBytes() + Codes.BytesOfPage);

    /// <inheritdoc/>
    public string? FindError() => FindError(isBack: false);

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheQuantizeProblem problem, ReadOnlySpan<RawView> operands) =>
        problem.FindContentError(operands, isBack: false);

    /// <inheritdoc/>
    public static KvCacheQuantizeProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int headDim = text.TakeSize("d");
        return new KvCacheQuantizeProblem(
            text.TakeSize("pages"), text.TakeSize("page"), text.TakeSize("pool"), text.TakeSize("codepool"), headDim,
            text.TakeSize("dv", headDim), text.TakeSize("bits"), text.TakeType(DataType.Float32));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("pages", Pages), ProblemText.Word("page", PageSize), ProblemText.Word("pool", PoolPages),
        ProblemText.Word("codepool", CodePoolPages), ProblemText.Word("d", HeadDim), ProblemText.Word("dv", ValueHeadDim, HeadDim),
        ProblemText.Word("bits", Bits), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();

    // The operands of either way: back, codes are read and the floating-point pools written.
    internal Operand GetOperand(int index, bool isBack)
    {
        (OperandRole pools, OperandRole codes) = isBack ? (OperandRole.InOut, OperandRole.Input) : (OperandRole.Input, OperandRole.InOut);
        (int sourcePool, int targetPool) = isBack ? (CodePoolPages, PoolPages) : (PoolPages, CodePoolPages);
        return index switch
        {
            Key => CellPages.Pool("key", pools, Type, PoolPages, PageSize, HeadDim, "headDim"),
            Value => CellPages.Pool("value", pools, Type, PoolPages, PageSize, ValueHeadDim, "valueHeadDim"),
            SourcePages => List("sourcePages", OperandValues.Below(Math.Max(1, sourcePool))),
            TargetPages => List("targetPages", OperandValues.DistinctBelow(targetPool)),
            >= KeyCodes and <= ValueMinimum => Codes.GetOperand(index - KeyCodes, codes),
            _ => throw new ArgumentOutOfRangeException(nameof(index)),
        };
    }

    internal string? FindError(bool isBack)
    {
        (string targetPool, int targetPages) = isBack ? ("poolPages", PoolPages) : ("codePages", CodePoolPages);
        return Pages < 0 || PoolPages < 0 ? "Sizes must not be negative."
            : !Type.IsFloat() ? $"Keys and values are f32, f16 or bf16, not {Type.ToText()}."
            : Pages > targetPages ? $"pages must be at most {targetPool}={targetPages} but is {Pages}."
            : Codes.FindError();
    }

    internal string? FindContentError(ReadOnlySpan<RawView> operands, bool isBack) =>
        CodePages.FindListError("sourcePages", operands[SourcePages], Pages, isBack ? CodePoolPages : PoolPages)
        ?? CodePages.FindListError("targetPages", operands[TargetPages], Pages, isBack ? PoolPages : CodePoolPages);

    private Operand List(string name, OperandValues values) =>
        new(name, OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Pages), "pages", Values: values);
}
