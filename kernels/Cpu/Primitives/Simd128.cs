using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>128-bit registers through the portable Vector128: any x64 or Arm64 processor, and scalar code where there is none.</summary>
public readonly unsafe struct Simd128 : ISimd<Vector128<float>>
{
    /// <inheritdoc/>
    public static string Name => "vector128";

    /// <inheritdoc/>
    public static string? WhyUnavailable => null;

    /// <inheritdoc/>
    public static int Width => 4;

    /// <inheritdoc/>
    public static int TileVectors => 2;

    /// <inheritdoc/>
    public static Vector128<float> Zero => Vector128<float>.Zero;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Broadcast(float value) => Vector128.Create(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Load(float* source) => Vector128.Load(source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector128<float> value, float* target) => value.Store(target);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFloat16(ushort* source)
    {
        // Sign-extending to 32 bits and shifting by 13 puts exponent and mantissa in place with the sign in the top bits;
        // multiplying by 2^112 corrects the exponent bias and normalises subnormals. Exponent 31 (infinity, NaN) would come
        // out as 2^16 or more: those lanes get float32's exponent of all ones instead.
        Vector128<int> wide = Vector128.ShiftLeft(Vector128.WidenLower(Vector128.CreateScalar(*(long*)source).AsInt16()), 13);
        Vector128<int> bits = wide & Vector128.Create(unchecked((int)0x8FFFE000));
        Vector128<float> scaled = bits.AsSingle() * Vector128.Create(5.192296858534828e33f);
        Vector128<int> exponent = wide & Vector128.Create(0x0F800000);
        Vector128<int> special = Vector128.Equals(exponent, Vector128.Create(0x0F800000)) & Vector128.Create(0x7F800000);
        return (scaled.AsInt32() | special).AsSingle();
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFiniteFloat16(ushort* source)
    {
        Vector128<int> wide = Vector128.ShiftLeft(Vector128.WidenLower(Vector128.CreateScalar(*(long*)source).AsInt16()), 13);
        Vector128<int> bits = wide & Vector128.Create(unchecked((int)0x8FFFE000));
        return bits.AsSingle() * Vector128.Create(5.192296858534828e33f);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadBFloat16(ushort* source) =>
        Vector128.ShiftLeft(Vector128.WidenLower(Vector128.CreateScalar(*(ulong*)source).AsUInt16()), 16).AsSingle();

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadInt8(sbyte* source)
    {
        Vector128<short> wide = Vector128.WidenLower(Vector128.CreateScalar(*(int*)source).AsSByte());
        return Vector128.ConvertToSingle(Vector128.WidenLower(wide));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadTwoBits(byte* source) => // there is no shift by lanes, but a product is one
        Vector128.ConvertToSingle(Vector128.ShiftRightLogical(Vector128.Create((int)*source) * Vector128.Create(64, 16, 4, 1), 6) & Vector128.Create(3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFourBits(byte* source) => Vector128.ConvertToSingle(
        Vector128.ShiftRightLogical(Vector128.Create((int)*(ushort*)source) * Vector128.Create(4096, 256, 16, 1), 12) & Vector128.Create(15));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadEightBits(byte* source)
    {
        Vector128<ushort> wide = Vector128.WidenLower(Vector128.CreateScalar(*(int*)source).AsByte());
        return Vector128.ConvertToSingle(Vector128.WidenLower(wide).AsInt32());
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> MultiplyAdd(Vector128<float> a, Vector128<float> b, Vector128<float> c) =>
        Vector128.MultiplyAddEstimate(a, b, c);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Add(Vector128<float> a, Vector128<float> b) => a + b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Subtract(Vector128<float> a, Vector128<float> b) => a - b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Multiply(Vector128<float> a, Vector128<float> b) => a * b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Divide(Vector128<float> a, Vector128<float> b) => a / b;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Max(Vector128<float> a, Vector128<float> b) => Vector128.Max(a, b);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector128<float> value) => Vector128.Sum(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> SumFour(Vector128<float> v0, Vector128<float> v1, Vector128<float> v2, Vector128<float> v3)
    {
        // The columns of the 4 x 4 transpose, added.
        Vector128<float> low01 = Vectors.UnpackLow(v0, v1), high01 = Vectors.UnpackHigh(v0, v1);
        Vector128<float> low23 = Vectors.UnpackLow(v2, v3), high23 = Vectors.UnpackHigh(v2, v3);
        return Vectors.JoinLow(low01, low23) + Vectors.JoinHigh(low01, low23) + (Vectors.JoinLow(high01, high23) + Vectors.JoinHigh(high01, high23));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreSums(
        Vector128<float> a0, Vector128<float> a1, Vector128<float> a2, Vector128<float> a3,
        Vector128<float> b0, Vector128<float> b1, Vector128<float> b2, Vector128<float> b3, float* target, long stride) =>
        StorePairs(SumFour(a0, a1, a2, a3), SumFour(b0, b1, b2, b3), target, stride);

    /// <summary>target[i · stride] = a_i and, beside it, b_i.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StorePairs(Vector128<float> a, Vector128<float> b, float* target, long stride)
    {
        Vector128<double> low = Vectors.UnpackLow(a, b).AsDouble(), high = Vectors.UnpackHigh(a, b).AsDouble();
        *(double*)target = low.ToScalar();
        *(double*)(target + stride) = low.GetElement(1);
        *(double*)(target + 2 * stride) = high.ToScalar();
        *(double*)(target + 3 * stride) = high.GetElement(1);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreSixteenSums(
        Vector128<float> v0, Vector128<float> v1, Vector128<float> v2, Vector128<float> v3,
        Vector128<float> v4, Vector128<float> v5, Vector128<float> v6, Vector128<float> v7,
        Vector128<float> v8, Vector128<float> v9, Vector128<float> v10, Vector128<float> v11,
        Vector128<float> v12, Vector128<float> v13, Vector128<float> v14, Vector128<float> v15, float* target)
    {
        SumFour(v0, v1, v2, v3).Store(target);
        SumFour(v4, v5, v6, v7).Store(target + 4);
        SumFour(v8, v9, v10, v11).Store(target + 8);
        SumFour(v12, v13, v14, v15).Store(target + 12);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxAcross(Vector128<float> value)
    {
        Vector128<float> pairs = Vector128.Max(value, Vector128.Shuffle(value, Vector128.Create(2, 3, 0, 1)));
        return Math.Max(pairs.ToScalar(), pairs.GetElement(1));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Exp2(Vector128<float> value)
    {
        // As in Simd512, but 2^n is built in the exponent bits, so results below 2^-126 are flushed to 0.
        Vector128<float> x = Vector128.Max(value, Vector128.Create(-127f));
        Vector128<float> n = Vector128.Round(x);
        Vector128<float> f = x - n;
        Vector128<float> p = Vector128.Create(Exp2Polynomial.C6);
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.C5));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.C4));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.C3));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.C2));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.C1));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128<float>.One);
        Vector128<int> exponent = Vector128.ShiftLeft(Vector128.ConvertToInt32(n) + Vector128.Create(127), 23);
        Vector128<float> result = p * exponent.AsSingle();
        return Vector128.ConditionalSelect(Vector128.Equals(value, value), result, value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> SwapPairs(Vector128<float> value) => Vector128.Shuffle(value, Vector128.Create(1, 0, 3, 2));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint EqualMask(Vector128<float> a, Vector128<float> b) => Vector128.ExtractMostSignificantBits(Vector128.Equals(a, b));

    /// <inheritdoc/>
    public static Vector128<float> Lanes => Vector128.CreateSequence(0f, 1f);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Abs(Vector128<float> value) => Vector128.Abs(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> MaxMagnitude(Vector128<float> a, Vector128<float> b) => Vector128.Max(Vector128.Abs(a), Vector128.Abs(b));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> CopySign(Vector128<float> magnitude, Vector128<float> sign) => Vector128.CopySign(magnitude, sign);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> SelectLess(Vector128<float> a, Vector128<float> b, Vector128<float> ifLess, Vector128<float> otherwise) =>
        Vector128.ConditionalSelect(Vector128.LessThan(a, b), ifLess, otherwise);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> HideFalse(Vector128<float> value, byte* isVisible)
    {
        Vector128<int> bytes = Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalar(*(uint*)isVisible).AsByte())).AsInt32();
        return Vector128.ConditionalSelect(Vector128.Equals(bytes, Vector128<int>.Zero).AsSingle(), Vector128.Create(float.NegativeInfinity), value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreFloat16(Vector128<float> value, ushort* target)
    {
        // As in Simd512.
        Vector128<uint> bits = value.AsUInt32();
        Vector128<uint> magnitude = bits & Vector128.Create(0x7FFFFFFFu);
        Vector128<uint> isOdd = Vector128.ShiftRightLogical(magnitude, 13) & Vector128<uint>.One;
        Vector128<uint> normal = Vector128.ShiftRightLogical(magnitude - Vector128.Create((112u << 23) - 0xFFF) + isOdd, 13);
        Vector128<uint> subnormal = (magnitude.AsSingle() + Vector128.Create(0.5f)).AsUInt32() - Vector128.Create(0x3F000000u);
        Vector128<uint> nan = Vector128.ShiftRightLogical(magnitude, 13) & Vector128.Create(0x1FFu) | Vector128.Create(0x7E00u);
        Vector128<uint> half = Vector128.ConditionalSelect(Vector128.LessThan(magnitude, Vector128.Create(113u << 23)), subnormal, normal);
        half = Vector128.ConditionalSelect(Vector128.GreaterThan(magnitude, Vector128.Create((143u << 23) - 1)), Vector128.Create(0x7C00u), half);
        half = Vector128.ConditionalSelect(Vector128.GreaterThan(magnitude, Vector128.Create(0x7F800000u)), nan, half);
        StoreLow16(half | (Vector128.ShiftRightLogical(bits, 16) & Vector128.Create(0x8000u)), target);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBFloat16(Vector128<float> value, ushort* target)
    {
        // Adding 0x7FFF, and one more when the kept part is odd, carries into the kept part exactly when rounding goes up.
        Vector128<uint> bits = value.AsUInt32();
        Vector128<uint> high = Vector128.ShiftRightLogical(bits, 16);
        Vector128<uint> rounded = Vector128.ShiftRightLogical(bits + Vector128.Create(0x7FFFu) + (high & Vector128<uint>.One), 16);
        StoreLow16(Vector128.ConditionalSelect(Vector128.Equals(value, value).AsUInt32(), rounded, high | Vector128.Create(0x40u)), target);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreLow16(Vector128<uint> value, ushort* target) =>
        Vector128.Narrow(value, value).GetLower().Store(target);
}
