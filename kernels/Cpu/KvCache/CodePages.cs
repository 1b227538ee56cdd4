namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Pages of a cache as small integers (Liu et al. 2024, KIVI, arXiv:2402.02750): <c>x = code · scale + minimum</c>, with one scale and
/// minimum for each channel of a page of keys, and one for each 32 channels of a value. Codes have 2, 4 or 8 bits and no sign; those of
/// one byte are neighbours in a row, the first in its lowest bits.
/// </summary>
/// <param name="PoolPages">Pages in the pools.</param>
/// <param name="PageSize">Slots of a page.</param>
/// <param name="HeadDim">Elements of a key.</param>
/// <param name="ValueHeadDim">Elements of a value.</param>
/// <param name="Bits">Bits of a code.</param>
public readonly record struct CodePages(int PoolPages, int PageSize, int HeadDim, int ValueHeadDim, int Bits)
{
    /// <summary>Channels of a value that share a scale.</summary>
    public const int GroupSize = 32;

    /// <summary>How many operands <see cref="GetOperand"/> describes.</summary>
    public const int Count = 6;

    /// <summary>Number of the codes of keys among the pools, which all operations take in this order.</summary>
    public const int KeyCodes = 0;

    /// <summary>Number of the scales of keys.</summary>
    public const int KeyScale = 1;

    /// <summary>Number of the minima of keys.</summary>
    public const int KeyMinimum = 2;

    /// <summary>Number of the codes of values.</summary>
    public const int ValueCodes = 3;

    /// <summary>Number of the scales of values.</summary>
    public const int ValueScale = 4;

    /// <summary>Number of the minima of values.</summary>
    public const int ValueMinimum = 5;

    /// <summary>Groups of a value row.</summary>
    public int Groups => (ValueHeadDim + GroupSize - 1) / GroupSize;

    /// <summary>The largest code.</summary>
    public int MaxCode => (1 << Bits) - 1;

    /// <summary>Bytes of a page with its scales and minima.</summary>
    public double BytesOfPage =>
        ((double)HeadDim + ValueHeadDim) * Bits / 8 * PageSize + 4.0 * HeadDim + 4.0 * Groups * PageSize;

    /// <summary>One of the pools.</summary>
    public Operand GetOperand(int index, OperandRole role) => index switch
    {
        KeyCodes => Codes("keyCodes", role, HeadDim),
        KeyScale => new("keyScale", role, DataType.Float16, TensorLayout.Contiguous(PoolPages, HeadDim), "codePages, headDim",
            Values: OperandValues.Scales),
        KeyMinimum => new("keyMinimum", role, DataType.Float16, TensorLayout.Contiguous(PoolPages, HeadDim), "codePages, headDim"),
        ValueCodes => Codes("valueCodes", role, ValueHeadDim),
        ValueScale => new("valueScale", role, DataType.Float16, TensorLayout.Contiguous(PoolPages, PageSize, Groups),
            "codePages, pageSize, groups",
            Values: OperandValues.Scales),
        _ => new("valueMinimum", role, DataType.Float16, TensorLayout.Contiguous(PoolPages, PageSize, Groups),
            "codePages, pageSize, groups"),
    };

    /// <summary>Null when there can be such pages.</summary>
    public string? FindError() =>
        PoolPages < 0 ? "Sizes must not be negative."
        : PageSize < 1 ? $"A page needs at least one slot but has {PageSize}."
        : Bits is not (2 or 4 or 8) ? $"Codes have 2, 4 or 8 bits, not {Bits}."
        : AttentionProblem.FindHeadDimError(HeadDim, ValueHeadDim) is { } error ? error
        : HeadDim * Bits % 8 != 0 || ValueHeadDim * Bits % 8 != 0
            ? $"Rows of {Bits} bits must fill whole bytes but have {HeadDim} and {ValueHeadDim} elements."
        : null;

    /// <summary>Null when a list names pages of a pool.</summary>
    public static string? FindListError(string name, in RawView list, int count, int poolPages)
    {
        for (int i = 0; i < count; i++)
        {
            if (list.ReadInt32(i) is var page && (uint)page >= (uint)poolPages)
                return $"{name}[{i}] must be 0 to {poolPages - 1} but is {page}.";
        }
        return null;
    }

    private Operand Codes(string name, OperandRole role, int size) => new(
        name, role, DataType.Int8, TensorLayout.Contiguous(PoolPages, PageSize, (long)size * Bits / 8), "codePages, pageSize, bytes",
        Values: OperandValues.Between(-128, 127));
}
