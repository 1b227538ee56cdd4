namespace KernelEngine;

/// <summary>How the operands of a verification lie in memory. Either way they are surrounded by bytes that nothing may write.</summary>
public enum OperandPlacement
{
    /// <summary>Row-major without gaps, 64-byte aligned.</summary>
    Contiguous,

    /// <summary>
    /// Aligned to the element only, a gap after each row, and the two dimensions before the last swapped in memory: a
    /// [batch, heads, tokens, headDim] storage seen as [batch, tokens, heads, headDim].
    /// </summary>
    Strided,
}
