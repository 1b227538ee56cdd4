namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// <c>mma.m16n8k{16,8}</c>: D = A B + C with 16-bit A and B and float32 C and D, spread over a warp. With g = lane / 4 and t = lane % 4, a
/// lane holds of A the pairs at rows g and g + 8, columns 2t and then 2t + 8; of B the pairs at rows 2t and then 2t + 8 of column g; of C
/// and D the pairs at columns 2t of rows g and g + 8.
/// </summary>
internal sealed class MatrixMultiplyInstruction(PtxType type, int depth, int[] d, int[] a, int[] b, int[] c) : PtxInstruction
{
    private const int RowsOfA = 16;
    private const int ColumnsOfB = 8;

    public override bool IsCollective => true;

    public override void Execute(Warp warp, uint mask)
    {
        if (mask != uint.MaxValue)
            throw warp.Fault(this, -1, "needs a whole warp");
        Span<float> left = stackalloc float[RowsOfA * 16];
        Span<float> right = stackalloc float[16 * ColumnsOfB];
        Span<float> sum = stackalloc float[RowsOfA * ColumnsOfB];
        MatrixFragments.GatherA(warp, a, type, left);
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            (int g, int t) = (lane / 4, lane % 4);
            for (int i = 0; i < b.Length; i++)
            {
                ulong pair = warp.Slot(b[i])[lane];
                int row = 2 * t + 8 * i;
                right[row * ColumnsOfB + g] = MatrixFragments.Widen(pair, type);
                right[(row + 1) * ColumnsOfB + g] = MatrixFragments.Widen(pair >> 16, type);
            }
            for (int i = 0; i < 4; i++)
                sum[(g + i / 2 * 8) * ColumnsOfB + 2 * t + i % 2] = Lane.Single(warp.Slot(c[i])[lane]);
        }
        for (int row = 0; row < RowsOfA; row++)
            MatrixFragments.AddRow(left.Slice(row * 16, depth), right, sum.Slice(row * ColumnsOfB, ColumnsOfB));
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            (int g, int t) = (lane / 4, lane % 4);
            for (int i = 0; i < 4; i++)
                warp.Slot(d[i])[lane] = Lane.Put(sum[(g + i / 2 * 8) * ColumnsOfB + 2 * t + i % 2]);
        }
    }
}
