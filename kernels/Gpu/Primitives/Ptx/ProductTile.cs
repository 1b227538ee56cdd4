namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>
/// A tile of a product, 128 rows × 256 columns, as it lies in the registers d0 .. d127 of 256 threads, whichever instructions made it. A
/// thread has ROWS rows, 8 apart, and of each PAIRS pairs of neighbouring columns, 8 apart. Inline code loops over them by name.
/// </summary>
internal static class ProductTile
{
    /// <summary>Rows of a tile.</summary>
    public const int BlockM = 128;

    /// <summary>Columns of a tile.</summary>
    public const int BlockN = 256;

    /// <summary>Warps that hold a tile.</summary>
    public const int Warps = 8;

    /// <summary>AT is the number of the register of row r, pair j, first column.</summary>
    public const string At = "$let AT 4*(PAIRS*(r/2)+j)+2*(r&1)";
}
