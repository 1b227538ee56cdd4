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
    public static Vector512<float> LoadFiniteFloat16(ushort* source)
    {
        Vector512<int> wide = Vector512.ShiftLeft(Avx512F.ConvertToVector512Int32(Vector256.Load((short*)source)), 13);
        Vector512<int> bits = wide & Vector512.Create(unchecked((int)0x8FFFE000));
        return bits.AsSingle() * Vector512.Create(5.192296858534828e33f);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadBFloat16(ushort* source) =>
        Vector512.ShiftLeft(Avx512F.ConvertToVector512Int32(Vector256.Load(source)), 16).AsSingle();

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadInt8(sbyte* source) =>
        Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(Vector128.Load(source)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadTwoBits(byte* source)
    {
        // Permuting a table looks up the lowest four bits of each lane: one instruction masks and converts.
        Vector512<int> codes = Avx512F.ShiftRightLogicalVariable(
            Vector512.Create(*(int*)source), Vector512.Create(0u, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30));
        return Avx512F.PermuteVar16x32(Vector512.Create(0f, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3), codes);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadFourBits(byte* source)
    {
        Vector512<int> words = Vector512.Create(Vector256.Create(*(int*)source), Vector256.Create(*(int*)(source + 4)));
        Vector512<uint> shifts = Vector512.Create(0u, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
        return Avx512F.PermuteVar16x32(
            Vector512.Create(0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), Avx512F.ShiftRightLogicalVariable(words, shifts));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadEightBits(byte* source) =>
        Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(Vector128.Load(source)));

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
    public static float Sum(Vector512<float> value) => Simd256.Sum(value.GetLower() + value.GetUpper());

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> SumFour(Vector512<float> v0, Vector512<float> v1, Vector512<float> v2, Vector512<float> v3) =>
        Simd256.SumFour(v0.GetLower() + v0.GetUpper(), v1.GetLower() + v1.GetUpper(), v2.GetLower() + v2.GetUpper(), v3.GetLower() + v3.GetUpper());

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreSums(
        Vector512<float> a0, Vector512<float> a1, Vector512<float> a2, Vector512<float> a3,
        Vector512<float> b0, Vector512<float> b1, Vector512<float> b2, Vector512<float> b3, float* target, long stride)
    {
        // One tree for all, of which each step halves the vectors: 15 shuffles and 8 additions, half of what two SumFour take.
        Vector512<float> a = SumToQuarters(a0, a1, a2, a3), b = SumToQuarters(b0, b1, b2, b3);
        Vector512<float> halves = Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b);
        Vector512<float> sums = halves + Avx512F.Permute4x32(halves, 0x4E);
        sums.GetLower().GetLower().Store(target);
        sums.GetLower().GetUpper().Store(target + stride);
        sums.GetUpper().GetLower().Store(target + 2 * stride);
        sums.GetUpper().GetUpper().Store(target + 3 * stride);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreSixteenSums(
        Vector512<float> v0, Vector512<float> v1, Vector512<float> v2, Vector512<float> v3,
        Vector512<float> v4, Vector512<float> v5, Vector512<float> v6, Vector512<float> v7,
        Vector512<float> v8, Vector512<float> v9, Vector512<float> v10, Vector512<float> v11,
        Vector512<float> v12, Vector512<float> v13, Vector512<float> v14, Vector512<float> v15, float* target)
    {
        // Each step halves the vectors; the sum of v_i comes out in lane i.
        Vector512<float> s0 = SumToQuarters(v0, v4, v8, v12), s1 = SumToQuarters(v1, v5, v9, v13);
        Vector512<float> s2 = SumToQuarters(v2, v6, v10, v14), s3 = SumToQuarters(v3, v7, v11, v15);
        Vector512<float> s01 = Avx512F.UnpackLow(s0, s1) + Avx512F.UnpackHigh(s0, s1), s23 = Avx512F.UnpackLow(s2, s3) + Avx512F.UnpackHigh(s2, s3);
        (Avx512F.Shuffle(s01, s23, 0x44) + Avx512F.Shuffle(s01, s23, 0xEE)).Store(target);
    }

    // The lanes of v_i, added up to four, in quarter i.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> SumToQuarters(Vector512<float> v0, Vector512<float> v1, Vector512<float> v2, Vector512<float> v3)
    {
        Vector512<float> v01 = Avx512F.Shuffle4x128(v0, v1, 0x44) + Avx512F.Shuffle4x128(v0, v1, 0xEE);
        Vector512<float> v23 = Avx512F.Shuffle4x128(v2, v3, 0x44) + Avx512F.Shuffle4x128(v2, v3, 0xEE);
        return Avx512F.Shuffle4x128(v01, v23, 0x88) + Avx512F.Shuffle4x128(v01, v23, 0xDD);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxAcross(Vector512<float> value) => Simd256.MaxAcross(Vector256.Max(value.GetLower(), value.GetUpper()));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp2(Vector512<float> value)
    {
        // 2^x = 2^n · 2^f with n = round(x), f in [-1/2, 1/2]: one instruction for f, which is 0 where x is infinite, a degree-6
        // polynomial for 2^f, and one instruction that adds n to the exponent and rounds to zero below the subnormals.
        Vector512<float> f = Avx512DQ.Reduce(value, 0x08);
        Vector512<float> p = Vector512.Create(Exp2Polynomial.C6);
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C5));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C4));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C3));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C2));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(Exp2Polynomial.C1));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512<float>.One);
        return Avx512F.Scale(p, value - f);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> SwapPairs(Vector512<float> value) => Avx512F.Permute4x32(value, 0xB1);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint EqualMask(Vector512<float> a, Vector512<float> b) => (uint)Vector512.ExtractMostSignificantBits(Vector512.Equals(a, b));

    /// <inheritdoc/>
    public static Vector512<float> Lanes => Vector512.CreateSequence(0f, 1f);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Abs(Vector512<float> value) => Vector512.Abs(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MaxMagnitude(Vector512<float> a, Vector512<float> b) => Avx512DQ.Range(a, b, 0x0B);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> CopySign(Vector512<float> magnitude, Vector512<float> sign) => Vector512.CopySign(magnitude, sign);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> SelectLess(Vector512<float> a, Vector512<float> b, Vector512<float> ifLess, Vector512<float> otherwise) =>
        Vector512.ConditionalSelect(Vector512.LessThan(a, b), ifLess, otherwise);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> HideFalse(Vector512<float> value, byte* isVisible)
    {
        Vector512<int> bytes = Avx512F.ConvertToVector512Int32(Vector128.Load(isVisible));
        return Vector512.ConditionalSelect(Vector512.Equals(bytes, Vector512<int>.Zero).AsSingle(), Vector512.Create(float.NegativeInfinity), value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreFloat16(Vector512<float> value, ushort* target)
    {
        // A normal number: move the exponent by 112 and shift 13 bits out, rounding as bfloat16 does below; a carry runs into
        // the exponent, up to infinity. A subnormal one: adding 1/2 shifts its bits to where binary16 has them, and the
        // addition rounds.
        Vector512<uint> bits = value.AsUInt32();
        Vector512<uint> magnitude = bits & Vector512.Create(0x7FFFFFFFu);
        Vector512<uint> isOdd = Vector512.ShiftRightLogical(magnitude, 13) & Vector512<uint>.One;
        Vector512<uint> normal = Vector512.ShiftRightLogical(magnitude - Vector512.Create((112u << 23) - 0xFFF) + isOdd, 13);
        Vector512<uint> subnormal = (magnitude.AsSingle() + Vector512.Create(0.5f)).AsUInt32() - Vector512.Create(0x3F000000u);
        Vector512<uint> nan = Vector512.ShiftRightLogical(magnitude, 13) & Vector512.Create(0x1FFu) | Vector512.Create(0x7E00u);
        Vector512<uint> half = Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(113u << 23)), subnormal, normal);
        half = Vector512.ConditionalSelect(Vector512.GreaterThan(magnitude, Vector512.Create((143u << 23) - 1)), Vector512.Create(0x7C00u), half);
        half = Vector512.ConditionalSelect(Vector512.GreaterThan(magnitude, Vector512.Create(0x7F800000u)), nan, half);
        StoreLow16(half | (Vector512.ShiftRightLogical(bits, 16) & Vector512.Create(0x8000u)), target);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBFloat16(Vector512<float> value, ushort* target)
    {
        // Adding 0x7FFF, and one more when the kept part is odd, carries into the kept part exactly when rounding goes up.
        Vector512<uint> bits = value.AsUInt32();
        Vector512<uint> high = Vector512.ShiftRightLogical(bits, 16);
        Vector512<uint> rounded = Vector512.ShiftRightLogical(bits + Vector512.Create(0x7FFFu) + (high & Vector512<uint>.One), 16);
        StoreLow16(Vector512.ConditionalSelect(Vector512.Equals(value, value).AsUInt32(), rounded, high | Vector512.Create(0x40u)), target);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreLow16(Vector512<uint> value, ushort* target) =>
        Avx512F.ConvertToVector256UInt16(value).Store(target);
}
