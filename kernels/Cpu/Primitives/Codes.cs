using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>Rows of integers of 2, 4 or 8 bits without a sign; those of a byte are neighbours, the first in its lowest bits.</summary>
internal static unsafe class Codes
{
    /// <summary>The integer with an index.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Read(byte* row, int index, int bits) => row[index * bits / 8] >> (index * bits % 8) & ((1 << bits) - 1);
}

/// <summary>How a vector of codes is loaded; a streaming loop compiles once for each implementation.</summary>
internal unsafe interface ICodes<TVector> where TVector : unmanaged
{
    /// <summary>Bits of a code.</summary>
    static abstract int Bits { get; }

    /// <summary>One vector of codes from <paramref name="index"/> on, a multiple of the vector's width; reads nothing past them.</summary>
    static abstract TVector Load(byte* row, int index);
}

internal readonly unsafe struct TwoBits<TSimd, TVector> : ICodes<TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    public static int Bits => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load(byte* row, int index) => TSimd.LoadTwoBits(row + index / 4);
}

internal readonly unsafe struct FourBits<TSimd, TVector> : ICodes<TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    public static int Bits => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load(byte* row, int index) => TSimd.LoadFourBits(row + index / 2);
}

internal readonly unsafe struct EightBits<TSimd, TVector> : ICodes<TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    public static int Bits => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load(byte* row, int index) => TSimd.LoadEightBits(row + index);
}
