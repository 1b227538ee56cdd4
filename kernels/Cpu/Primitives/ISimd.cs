using System.Runtime.Intrinsics;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>
/// The vector instructions a kernel body is written in, so that one body compiles to 512, 256 and 128 bits. Implementations
/// are empty structs; the JIT replaces every call with the instruction.
/// </summary>
/// <typeparam name="TVector">The register of <see cref="Width"/> float32 lanes.</typeparam>
public unsafe interface ISimd<TVector> where TVector : unmanaged
{
    /// <summary>The word in kernel names: avx512, avx2, vector128.</summary>
    static abstract string Name { get; }

    /// <summary>Null when the processor has these instructions, else a sentence.</summary>
    static abstract string? WhyUnavailable { get; }

    /// <summary>Float32 lanes of a register.</summary>
    static abstract int Width { get; }

    /// <summary>Vectors across a full tile of the matrix micro-kernel; 6 rows of them must fit the register file.</summary>
    static abstract int TileVectors { get; }

    /// <summary>All lanes zero.</summary>
    static abstract TVector Zero { get; }

    /// <summary>All lanes <paramref name="value"/>.</summary>
    static abstract TVector Broadcast(float value);

    /// <summary>Loads <see cref="Width"/> floats; no alignment needed.</summary>
    static abstract TVector Load(float* source);

    /// <summary>Stores <see cref="Width"/> floats; no alignment needed.</summary>
    static abstract void Store(TVector value, float* target);

    /// <summary>Loads <see cref="Width"/> binary16 numbers and widens them exactly, infinities and NaNs included.</summary>
    static abstract TVector LoadFloat16(ushort* source);

    /// <summary>As <see cref="LoadFloat16"/>, for numbers known to be finite: infinities and NaNs come out as 65536 and more.</summary>
    static abstract TVector LoadFiniteFloat16(ushort* source);

    /// <summary>Loads <see cref="Width"/> bfloat16 numbers and widens them exactly.</summary>
    static abstract TVector LoadBFloat16(ushort* source);

    /// <summary>Loads <see cref="Width"/> signed bytes and converts them exactly.</summary>
    static abstract TVector LoadInt8(sbyte* source);

    /// <summary>Loads <see cref="Width"/> integers of 2 bits, without a sign, the first in the lowest bits, and converts them.</summary>
    static abstract TVector LoadTwoBits(byte* source);

    /// <summary>As <see cref="LoadTwoBits"/>, of 4 bits.</summary>
    static abstract TVector LoadFourBits(byte* source);

    /// <summary>As <see cref="LoadTwoBits"/>, of 8 bits.</summary>
    static abstract TVector LoadEightBits(byte* source);

    /// <summary>a · b + c with one rounding where the processor has it.</summary>
    static abstract TVector MultiplyAdd(TVector a, TVector b, TVector c);

    /// <summary>a + b.</summary>
    static abstract TVector Add(TVector a, TVector b);

    /// <summary>a − b.</summary>
    static abstract TVector Subtract(TVector a, TVector b);

    /// <summary>a · b.</summary>
    static abstract TVector Multiply(TVector a, TVector b);

    /// <summary>a / b.</summary>
    static abstract TVector Divide(TVector a, TVector b);

    /// <summary>The larger of each pair of lanes; which one for NaN is not specified.</summary>
    static abstract TVector Max(TVector a, TVector b);

    /// <summary>The sum of all lanes, pairwise.</summary>
    static abstract float Sum(TVector value);

    /// <summary>The sums of all lanes of four vectors, in that order: one reduction tree for the four.</summary>
    static abstract Vector128<float> SumFour(TVector v0, TVector v1, TVector v2, TVector v3);

    /// <summary>
    /// Stores the sums of all lanes of eight vectors in pairs: <paramref name="target"/>[i · <paramref name="stride"/>] = Σ a_i and, beside
    /// it, Σ b_i. May write two more floats after each pair.
    /// </summary>
    static abstract void StoreSums(
        TVector a0, TVector a1, TVector a2, TVector a3, TVector b0, TVector b1, TVector b2, TVector b3, float* target, long stride);

    /// <summary>Stores the sums of all lanes of sixteen vectors side by side: one reduction tree for all.</summary>
    static abstract void StoreSixteenSums(
        TVector v0, TVector v1, TVector v2, TVector v3, TVector v4, TVector v5, TVector v6, TVector v7,
        TVector v8, TVector v9, TVector v10, TVector v11, TVector v12, TVector v13, TVector v14, TVector v15, float* target);

    /// <summary>The largest lane.</summary>
    static abstract float MaxAcross(TVector value);

    /// <summary>
    /// 2^x for x up to 126 (a softmax asks for 8 at most); −∞ gives 0, NaN gives NaN. Relative error at most 1.2e-7 down to −126; below,
    /// where float32 is subnormal, the result is subnormal or 0, an error of at most 2^-126.
    /// </summary>
    static abstract TVector Exp2(TVector value);

    /// <summary>Swaps the lanes of each pair (2i, 2i + 1).</summary>
    static abstract TVector SwapPairs(TVector value);

    /// <summary>Bit i is set when lanes i are equal; a NaN equals nothing, 0 equals −0.</summary>
    static abstract uint EqualMask(TVector a, TVector b);

    /// <summary>0, 1, 2, ... in the lanes.</summary>
    static abstract TVector Lanes { get; }

    /// <summary>The magnitude of each lane.</summary>
    static abstract TVector Abs(TVector value);

    /// <summary>The larger magnitude of each pair of lanes, none of them NaN.</summary>
    static abstract TVector MaxMagnitude(TVector a, TVector b);

    /// <summary>The magnitude of the first with the sign of the second.</summary>
    static abstract TVector CopySign(TVector magnitude, TVector sign);

    /// <summary><paramref name="ifLess"/> in the lanes where a is less than b, <paramref name="otherwise"/> in the others; a NaN is not less.</summary>
    static abstract TVector SelectLess(TVector a, TVector b, TVector ifLess, TVector otherwise);

    /// <summary>−∞ in the lanes whose byte is 0, <paramref name="value"/> in the others. Reads <see cref="Width"/> bytes.</summary>
    static abstract TVector HideFalse(TVector value, byte* isVisible);

    /// <summary>
    /// Stores <see cref="Width"/> floats as binary16, rounded to nearest, ties to even; 65520 and above become infinity and a
    /// NaN stays a (quiet) NaN.
    /// </summary>
    static abstract void StoreFloat16(TVector value, ushort* target);

    /// <summary>Stores <see cref="Width"/> floats as bfloat16, rounded to nearest, ties to even; a NaN stays a (quiet) NaN.</summary>
    static abstract void StoreBFloat16(TVector value, ushort* target);
}
