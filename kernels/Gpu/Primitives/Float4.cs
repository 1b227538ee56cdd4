using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>Four float32 that are loaded and stored in one 16-byte access.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Float4
{
    public float X, Y, Z, W;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4(float x, float y, float z, float w) => (X, Y, Z, W) = (x, y, z, w);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Broadcast(float value) => new(value, value, value, value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Dot(Float4 a, Float4 b) => a.X * b.X + a.Y * b.Y + a.Z * b.Z + a.W * b.W;

    /// <summary>The larger of each pair; a NaN in <paramref name="b"/> is passed over.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Max(Float4 a, Float4 b) => new(
        b.X > a.X ? b.X : a.X, b.Y > a.Y ? b.Y : a.Y, b.Z > a.Z ? b.Z : a.Z, b.W > a.W ? b.W : a.W);

    /// <summary>The largest of the four; a NaN is passed over unless all are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxAcross(Float4 a)
    {
        float max = float.NegativeInfinity;
        max = a.X > max ? a.X : max;
        max = a.Y > max ? a.Y : max;
        max = a.Z > max ? a.Z : max;
        return a.W > max ? a.W : max;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SumAcross(Float4 a) => a.X + a.Y + (a.Z + a.W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Add(Float4 a, Float4 b) => new(a.X + b.X, a.Y + b.Y, a.Z + b.Z, a.W + b.W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Multiply(Float4 a, Float4 b) => new(a.X * b.X, a.Y * b.Y, a.Z * b.Z, a.W * b.W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Scale(Float4 a, float factor) => new(a.X * factor, a.Y * factor, a.Z * factor, a.W * factor);

    /// <summary>sum + factor · a.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 MultiplyAdd(float factor, Float4 a, Float4 sum) =>
        new(sum.X + factor * a.X, sum.Y + factor * a.Y, sum.Z + factor * a.Z, sum.W + factor * a.W);

    /// <summary>As <see cref="MultiplyAdd"/>, but a factor of exactly 0 adds nothing even where a is infinite or NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 MultiplyAddSkippingZero(float factor, Float4 a, Float4 sum) => new(
        factor != 0f ? sum.X + factor * a.X : sum.X, factor != 0f ? sum.Y + factor * a.Y : sum.Y,
        factor != 0f ? sum.Z + factor * a.Z : sum.Z, factor != 0f ? sum.W + factor * a.W : sum.W);
}
