namespace KernelEngine;

/// <summary>
/// Turns whole pages of codes back into floating-point keys and values, <c>x = code · scale + minimum</c> rounded to the storage type:
/// the way back of <see cref="KvCacheQuantizeProblem"/>, with its sizes, operands and text form. Target pages must be distinct.
/// </summary>
/// <param name="Quantize">The way there: source pages are now those of codes, target pages those of the floating-point pools.</param>
public readonly record struct KvCacheDequantizeProblem(KvCacheQuantizeProblem Quantize) : IProblem<KvCacheDequantizeProblem>
{
    /// <inheritdoc/>
    public int OperandCount => Quantize.OperandCount;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => Quantize.GetOperand(index, isBack: true);

    /// <inheritdoc/>
    public double Flops => Quantize.Flops;

    /// <inheritdoc/>
    public double Bytes => Quantize.Bytes;

    /// <inheritdoc/>
    public string? FindError() => Quantize.FindError(isBack: true);

    /// <inheritdoc/>
    public static string? FindContentError(in KvCacheDequantizeProblem problem, ReadOnlySpan<RawView> operands) =>
        problem.Quantize.FindContentError(operands, isBack: true);

    /// <inheritdoc/>
    public static KvCacheDequantizeProblem Read(ProblemText text) => new(KvCacheQuantizeProblem.Read(text));

    /// <inheritdoc/>
    public string ToText() => Quantize.ToText();

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
