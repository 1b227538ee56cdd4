namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>
/// Which row and which eight columns of a 16 × 16 tile in shared memory a lane names to ldmatrix.x4, so that the four registers
/// it gets are operands of mma.m16n8k16; and where the lane's results of mma lie.
/// </summary>
internal static class MatrixLanes
{
    /// <summary>Row of a left operand, [row, depth]; and of a right one stored as [depth, column], loaded with .trans.</summary>
    public static int Row(int lane) => lane & 15;

    /// <summary>First column for <see cref="Row"/>.</summary>
    public static int Column(int lane) => lane >> 4 << 3;

    /// <summary>Row of a right operand stored as [column, depth].</summary>
    public static int TransposedRow(int lane) => (lane & 7) + (lane >> 4 << 3);

    /// <summary>First column for <see cref="TransposedRow"/>.</summary>
    public static int TransposedColumn(int lane) => lane >> 3 << 3 & 8;

    /// <summary>Upper of the two rows of a result that a lane holds; the other is 8 below.</summary>
    public static int ResultRow(int lane) => lane >> 2;

    /// <summary>First of the two columns of a result of 8 columns that a lane holds.</summary>
    public static int ResultColumn(int lane) => (lane & 3) << 1;
}
