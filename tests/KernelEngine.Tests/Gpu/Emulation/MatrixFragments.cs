using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>What the matrix instructions share: the fragment of A, and one row of a product.</summary>
internal static class MatrixFragments
{
    /// <summary>The rows of A are this long here, whatever the depth of the product.</summary>
    public const int Depth = 16;

    /// <summary>
    /// Writes the 16 rows a warp holds of A. With g = lane / 4 and t = lane % 4, register i of a lane holds the elements of row
    /// g + 8 (i % 2) at columns 2t + 8 (i / 2) and the next.
    /// </summary>
    public static void GatherA(Warp warp, ReadOnlySpan<int> registers, PtxType type, Span<float> rows)
    {
        for (int i = 0; i < registers.Length; i++)
        {
            ReadOnlySpan<ulong> values = warp.Slot(registers[i]);
            for (int lane = 0; lane < Warp.Lanes; lane++)
            {
                int at = (lane / 4 + i % 2 * 8) * Depth + lane % 4 * 2 + i / 2 * 8;
                rows[at] = Widen(values[lane], type);
                rows[at + 1] = Widen(values[lane] >> 16, type);
            }
        }
    }

    /// <summary>The float32 value of the low 16 bits.</summary>
    public static float Widen(ulong bits, PtxType type) =>
        type == PtxType.BF16 ? Lane.FromBFloat16(bits) : Lane.FromHalf(bits);

    /// <summary>Adds a row of A times B, whose rows are as long as the sum, element by element in order of depth.</summary>
    public static void AddRow(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> sum)
    {
        int width = sum.Length;
        for (int k = 0; k < a.Length; k++)
        {
            ReadOnlySpan<float> row = b.Slice(k * width, width);
            int column = 0;
            for (; column + Vector<float>.Count <= width; column += Vector<float>.Count)
            {
                var right = new Vector<float>(row[column..]);
                Vector.FusedMultiplyAdd(new Vector<float>(a[k]), right, new Vector<float>(sum[column..])).CopyTo(sum[column..]);
            }
            for (; column < width; column++)
                sum[column] = MathF.FusedMultiplyAdd(a[k], row[column], sum[column]);
        }
    }
}
