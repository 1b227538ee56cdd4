using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>512-bit registers: AVX-512 F, BW, DQ, VL.</summary>
public readonly unsafe struct Simd512 : ISimd<Vector512<float>>
{
    /// <inheritdoc/>
    public static string Name => "avx512";

    /// <inheritdoc/>
    public static string? WhyUnavailable => Vector512.IsHardwareAccelerated && Avx512BW.IsSupported ? null : "needs AVX-512 (F and BW)";

    /// <inheritdoc/>
    public static int Width => 16;

    /// <inheritdoc/>
    public static int TileVectors => 4;

    /// <inheritdoc/>
    public static Vector512<float> Zero => Vector512<float>.Zero;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Broadcast(float value) => Vector512.Create(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(float* source) => Vector512.Load(source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector512<float> value, float* target) => value.Store(target);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadFloat16(ushort* source)
    {
        // Sign-extending to 32 bits and shifting by 13 puts exponent and mantissa in place with the sign in the top bits;
        // multiplying by 2^112 corrects the exponent bias and normalises subnormals. Exponent 31 (infinity, NaN) would come
        // out as 2^16 or more: those lanes get float32's exponent of all ones instead.
        Vector512<int> wide = Vector512.ShiftLeft(Avx512F.ConvertToVector512Int32(Vector256.Load((short*)source)), 13);
        Vector512<int> bits = wide & Vector512.Create(unchecked((int)0x8FFFE000));
        Vector512<float> scaled = bits.AsSingle() * Vector512.Create(5.192296858534828e33f);
        Vector512<int> exponent = wide & Vector512.Create(0x0F800000);
        Vector512<int> special = Vector512.Equals(exponent, Vector512.Create(0x0F800000)) & Vector512.Create(0x7F800000);
        return (scaled.AsInt32() | special).AsSingle();
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadBFloat16(ushort* source) =>
        Vector512.ShiftLeft(Avx512F.ConvertToVector512Int32(Vector256.Load(source)), 16).AsSingle();

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MultiplyAdd(Vector512<float> a, Vector512<float> b, Vector512<float> c) =>
        Avx512F.FusedMultiplyAdd(a, b, c);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Add(Vector512<float> a, Vector512<float> b) => a + b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Subtract(Vector512<float> a, Vector512<float> b) => a - b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Multiply(Vector512<float> a, Vector512<float> b) => a * b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Divide(Vector512<float> a, Vector512<float> b) => a / b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Max(Vector512<float> a, Vector512<float> b) => Avx512F.Max(a, b);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector512<float> value) => Vector512.Sum(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> SumFour(Vector512<float> v0, Vector512<float> v1, Vector512<float> v2, Vector512<float> v3) =>
        Simd256.SumFour(v0.GetLower() + v0.GetUpper(), v1.GetLower() + v1.GetUpper(), v2.GetLower() + v2.GetUpper(), v3.GetLower() + v3.GetUpper());

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxAcross(Vector512<float> value) => Simd256.MaxAcross(Vector256.Max(value.GetLower(), value.GetUpper()));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp2NonPositive(Vector512<float> value)
    {
        // 2^x = 2^n · 2^f with n = round(x), f in [-1/2, 1/2]: a degree-6 polynomial for 2^f (minimax, relative error 2e-9
        // before rounding) and one instruction that adds n to the exponent and rounds to zero below the subnormals.
        Vector512<float> x = Avx512F.Max(value, Vector512.Create(-200f)); // max(a, b) gives b when a is NaN: restored below
        Vector512<float> n = Avx512F.RoundScale(x, 0x08);
        Vector512<float> f = x - n;
        Vector512<float> p = Vector512.Create(Exp2Polynomial.C6);
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C5));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C4));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C3));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C2));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C1));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512<float>.One);
        Vector512<float> result = Avx512F.Scale(p, n);
        return Vector512.ConditionalSelect(Vector512.Equals(value, value), result, value);
    }
}
