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

    /// <summary>
    /// Adds a row of A times B, whose rows are as long as the sum. Tensor cores do not round the sum to the nearest float32, they cut it:
    /// whoever adds many products to one large sum is off by as many half units in the last place, all in one direction.
    /// </summary>
    public static void AddRow(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> sum)
    {
        int width = sum.Length, column = 0;
        for (; column + Vector<float>.Count <= width; column += Vector<float>.Count)
        {
            Vector.Widen(new Vector<float>(sum[column..]), out Vector<double> low, out Vector<double> high);
            for (int k = 0; k < a.Length; k++)
            {
                Vector.Widen(new Vector<float>(b[(k * width + column)..]), out Vector<double> rightLow, out Vector<double> rightHigh);
                var left = new Vector<double>(a[k]);
                low = Vector.FusedMultiplyAdd(left, rightLow, low);
                high = Vector.FusedMultiplyAdd(left, rightHigh, high);
            }
            Vector.Narrow(Cut(low), Cut(high)).CopyTo(sum[column..]);
        }
        for (; column < width; column++)
        {
            double total = sum[column];
            for (int k = 0; k < a.Length; k++)
                total += (double)a[k] * b[k * width + column];
            sum[column] = (float)BitConverter.Int64BitsToDouble(BitConverter.DoubleToInt64Bits(total) & BitsOfSingle);
        }
    }

    // Of a double, those that a float has too.
    private const long BitsOfSingle = ~0x1FFF_FFFFL;

    private static Vector<double> Cut(Vector<double> values) =>
        Vector.AsVectorDouble(Vector.AsVectorInt64(values) & new Vector<long>(BitsOfSingle));
}
