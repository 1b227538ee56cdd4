using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>256-bit registers: AVX2 and FMA.</summary>
public readonly unsafe struct Simd256 : ISimd<Vector256<float>>
{
    /// <inheritdoc/>
    public static string Name => "avx2";

    /// <inheritdoc/>
    public static string? WhyUnavailable => Avx2.IsSupported && Fma.IsSupported ? null : "needs AVX2 and FMA";

    /// <inheritdoc/>
    public static int Width => 8;

    /// <inheritdoc/>
    public static int TileVectors => 2;

    /// <inheritdoc/>
    public static Vector256<float> Zero => Vector256<float>.Zero;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Broadcast(float value) => Vector256.Create(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(float* source) => Vector256.Load(source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256<float> value, float* target) => value.Store(target);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadFloat16(ushort* source)
    {
        // Sign-extending to 32 bits and shifting by 13 puts exponent and mantissa in place with the sign in the top bits;
        // multiplying by 2^112 corrects the exponent bias and normalises subnormals. Exponent 31 (infinity, NaN) would come
        // out as 2^16 or more: those lanes get float32's exponent of all ones instead.
        Vector256<int> wide = Vector256.ShiftLeft(Avx2.ConvertToVector256Int32(Vector128.Load((short*)source)), 13);
        Vector256<int> bits = wide & Vector256.Create(unchecked((int)0x8FFFE000));
        Vector256<float> scaled = bits.AsSingle() * Vector256.Create(5.192296858534828e33f);
        Vector256<int> exponent = wide & Vector256.Create(0x0F800000);
        Vector256<int> special = Vector256.Equals(exponent, Vector256.Create(0x0F800000)) & Vector256.Create(0x7F800000);
        return (scaled.AsInt32() | special).AsSingle();
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadFiniteFloat16(ushort* source)
    {
        Vector256<int> wide = Vector256.ShiftLeft(Avx2.ConvertToVector256Int32(Vector128.Load((short*)source)), 13);
        Vector256<int> bits = wide & Vector256.Create(unchecked((int)0x8FFFE000));
        return bits.AsSingle() * Vector256.Create(5.192296858534828e33f);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadBFloat16(ushort* source) =>
        Vector256.ShiftLeft(Avx2.ConvertToVector256Int32(Vector128.Load(source)), 16).AsSingle();

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadInt8(sbyte* source) =>
        Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(source));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadTwoBits(byte* source) => Avx.ConvertToVector256Single(
        Avx2.ShiftRightLogicalVariable(Vector256.Create((int)*(ushort*)source), Vector256.Create(0u, 2, 4, 6, 8, 10, 12, 14)) & Vector256.Create(3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadFourBits(byte* source) => Avx.ConvertToVector256Single(
        Avx2.ShiftRightLogicalVariable(Vector256.Create(*(int*)source), Vector256.Create(0u, 4, 8, 12, 16, 20, 24, 28)) & Vector256.Create(15));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadEightBits(byte* source) =>
        Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(source));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> MultiplyAdd(Vector256<float> a, Vector256<float> b, Vector256<float> c) =>
        Fma.MultiplyAdd(a, b, c);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Add(Vector256<float> a, Vector256<float> b) => a + b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Subtract(Vector256<float> a, Vector256<float> b) => a - b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Multiply(Vector256<float> a, Vector256<float> b) => a * b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Divide(Vector256<float> a, Vector256<float> b) => a / b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Max(Vector256<float> a, Vector256<float> b) => Avx.Max(a, b);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector256<float> value) => Vector256.Sum(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> SumFour(Vector256<float> v0, Vector256<float> v1, Vector256<float> v2, Vector256<float> v3) =>
        Simd128.SumFour(v0.GetLower() + v0.GetUpper(), v1.GetLower() + v1.GetUpper(), v2.GetLower() + v2.GetUpper(), v3.GetLower() + v3.GetUpper());

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreSums(
        Vector256<float> a0, Vector256<float> a1, Vector256<float> a2, Vector256<float> a3,
        Vector256<float> b0, Vector256<float> b1, Vector256<float> b2, Vector256<float> b3, float* target, long stride) =>
        Simd128.StorePairs(SumFour(a0, a1, a2, a3), SumFour(b0, b1, b2, b3), target, stride);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreSixteenSums(
        Vector256<float> v0, Vector256<float> v1, Vector256<float> v2, Vector256<float> v3,
        Vector256<float> v4, Vector256<float> v5, Vector256<float> v6, Vector256<float> v7,
        Vector256<float> v8, Vector256<float> v9, Vector256<float> v10, Vector256<float> v11,
        Vector256<float> v12, Vector256<float> v13, Vector256<float> v14, Vector256<float> v15, float* target)
    {
        SumFour(v0, v1, v2, v3).Store(target);
        SumFour(v4, v5, v6, v7).Store(target + 4);
        SumFour(v8, v9, v10, v11).Store(target + 8);
        SumFour(v12, v13, v14, v15).Store(target + 12);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxAcross(Vector256<float> value) => Simd128.MaxAcross(Vector128.Max(value.GetLower(), value.GetUpper()));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2(Vector256<float> value)
    {
        // As in Simd512, but 2^n is built in the exponent bits, so results below 2^-126 are flushed to 0.
        Vector256<float> x = Avx.Max(value, Vector256.Create(-127f));
        Vector256<float> n = Avx.RoundToNearestInteger(x);
        Vector256<float> f = x - n;
        Vector256<float> p = Vector256.Create(Exp2Polynomial.C6);
        p = Fma.MultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.C5));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.C4));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.C3));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.C2));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.C1));
        p = Fma.MultiplyAdd(p, f, Vector256<float>.One);
        Vector256<int> exponent = Vector256.ShiftLeft(Avx.ConvertToVector256Int32(n) + Vector256.Create(127), 23);
        Vector256<float> result = p * exponent.AsSingle();
        return Vector256.ConditionalSelect(Vector256.Equals(value, value), result, value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SwapPairs(Vector256<float> value) => Avx.Permute(value, 0xB1);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint EqualMask(Vector256<float> a, Vector256<float> b) => Vector256.ExtractMostSignificantBits(Vector256.Equals(a, b));

    /// <inheritdoc/>
    public static Vector256<float> Lanes => Vector256.CreateSequence(0f, 1f);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Abs(Vector256<float> value) => Vector256.Abs(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> MaxMagnitude(Vector256<float> a, Vector256<float> b) => Vector256.Max(Vector256.Abs(a), Vector256.Abs(b));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> CopySign(Vector256<float> magnitude, Vector256<float> sign) => Vector256.CopySign(magnitude, sign);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SelectLess(Vector256<float> a, Vector256<float> b, Vector256<float> ifLess, Vector256<float> otherwise) =>
        Vector256.ConditionalSelect(Vector256.LessThan(a, b), ifLess, otherwise);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> HideFalse(Vector256<float> value, byte* isVisible)
    {
        Vector256<int> bytes = Avx2.ConvertToVector256Int32(Vector128.CreateScalar(*(ulong*)isVisible).AsByte());
        return Vector256.ConditionalSelect(Vector256.Equals(bytes, Vector256<int>.Zero).AsSingle(), Vector256.Create(float.NegativeInfinity), value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreFloat16(Vector256<float> value, ushort* target)
    {
        // As in Simd512.
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> magnitude = bits & Vector256.Create(0x7FFFFFFFu);
        Vector256<uint> isOdd = Vector256.ShiftRightLogical(magnitude, 13) & Vector256<uint>.One;
        Vector256<uint> normal = Vector256.ShiftRightLogical(magnitude - Vector256.Create((112u << 23) - 0xFFF) + isOdd, 13);
        Vector256<uint> subnormal = (magnitude.AsSingle() + Vector256.Create(0.5f)).AsUInt32() - Vector256.Create(0x3F000000u);
        Vector256<uint> nan = Vector256.ShiftRightLogical(magnitude, 13) & Vector256.Create(0x1FFu) | Vector256.Create(0x7E00u);
        Vector256<uint> half = Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(113u << 23)), subnormal, normal);
        half = Vector256.ConditionalSelect(Vector256.GreaterThan(magnitude, Vector256.Create((143u << 23) - 1)), Vector256.Create(0x7C00u), half);
        half = Vector256.ConditionalSelect(Vector256.GreaterThan(magnitude, Vector256.Create(0x7F800000u)), nan, half);
        StoreLow16(half | (Vector256.ShiftRightLogical(bits, 16) & Vector256.Create(0x8000u)), target);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBFloat16(Vector256<float> value, ushort* target)
    {
        // Adding 0x7FFF, and one more when the kept part is odd, carries into the kept part exactly when rounding goes up.
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> high = Vector256.ShiftRightLogical(bits, 16);
        Vector256<uint> rounded = Vector256.ShiftRightLogical(bits + Vector256.Create(0x7FFFu) + (high & Vector256<uint>.One), 16);
        StoreLow16(Vector256.ConditionalSelect(Vector256.Equals(value, value).AsUInt32(), rounded, high | Vector256.Create(0x40u)), target);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreLow16(Vector256<uint> value, ushort* target) =>
        Vector128.Narrow(value.GetLower(), value.GetUpper()).Store(target);
}
