using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>
/// A 4 × 4 block of a product that one thread accumulates. Rows are named fields, because ILGPU keeps those in registers
/// where an array would go to memory.
/// </summary>
internal struct Tile4x4
{
    public Float4 Row0, Row1, Row2, Row3;

    /// <summary>Adds the outer product: row i += left[i] · right.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void MultiplyAdd(Float4 left, Float4 right)
    {
        Row0 = Float4.MultiplyAdd(left.X, right, Row0);
        Row1 = Float4.MultiplyAdd(left.Y, right, Row1);
        Row2 = Float4.MultiplyAdd(left.Z, right, Row2);
        Row3 = Float4.MultiplyAdd(left.W, right, Row3);
    }

    /// <summary>As <see cref="MultiplyAdd"/>, but a left factor of exactly 0 adds nothing even where right is infinite or NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void MultiplyAddSkippingZeros(Float4 left, Float4 right)
    {
        Row0 = Float4.MultiplyAddSkippingZero(left.X, right, Row0);
        Row1 = Float4.MultiplyAddSkippingZero(left.Y, right, Row1);
        Row2 = Float4.MultiplyAddSkippingZero(left.Z, right, Row2);
        Row3 = Float4.MultiplyAddSkippingZero(left.W, right, Row3);
    }

    /// <summary>Multiplies row i by factors[i].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void ScaleRows(Float4 factors)
    {
        Row0 = Float4.Scale(Row0, factors.X);
        Row1 = Float4.Scale(Row1, factors.Y);
        Row2 = Float4.Scale(Row2, factors.Z);
        Row3 = Float4.Scale(Row3, factors.W);
    }

    /// <summary>The largest element of each row, NaNs passed over.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4 RowMax() =>
        new(Float4.MaxAcross(Row0), Float4.MaxAcross(Row1), Float4.MaxAcross(Row2), Float4.MaxAcross(Row3));

    /// <summary>The sum of each row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4 RowSum() =>
        new(Float4.SumAcross(Row0), Float4.SumAcross(Row1), Float4.SumAcross(Row2), Float4.SumAcross(Row3));
}
