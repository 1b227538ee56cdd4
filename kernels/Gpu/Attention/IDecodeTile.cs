namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>How many query rows of one key/value head a decode group computes together: 1, 4 or 8. A constant for the compiler.</summary>
internal interface IDecodeTile
{
    /// <summary>Query rows of a group.</summary>
    static abstract int Rows { get; }
}
