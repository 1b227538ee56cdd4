using System.Runtime.CompilerServices;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>A lane's value of a slot is 64 bits; a narrower value lies in the low bits, with zeros above.</summary>
internal static class Lane
{
    public static T Get<T>(ulong raw)
        where T : unmanaged => Unsafe.As<ulong, T>(ref raw);

    public static ulong Put<T>(T value)
        where T : unmanaged
    {
        ulong raw = 0;
        Unsafe.As<ulong, T>(ref raw) = value;
        return raw;
    }

    public static float Single(ulong raw) => BitConverter.UInt32BitsToSingle((uint)raw);

    public static ulong Put(float value) => BitConverter.SingleToUInt32Bits(value);

    /// <summary>The value of a type's low bits in a register: signed types are extended to the register's width.</summary>
    public static ulong Extend(ulong value, PtxType type, int registerBytes)
    {
        if (!type.IsSigned())
            return value;
        int shift = 64 - 8 * type.Bytes();
        ulong wide = (ulong)((long)(value << shift) >> shift);
        return registerBytes >= 8 ? wide : wide & (1UL << 8 * registerBytes) - 1;
    }

    /// <summary>bfloat16 to float32: the upper half of its bits.</summary>
    public static float FromBFloat16(ulong raw) => BitConverter.UInt32BitsToSingle((uint)(ushort)raw << 16);

    /// <summary>float32 to bfloat16, to nearest even; NaN stays NaN.</summary>
    public static ulong ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? 0x7FFF : bits + 0x7FFF + (bits >> 16 & 1) >> 16;
    }

    public static float FromHalf(ulong raw) => (float)BitConverter.UInt16BitsToHalf((ushort)raw);

    public static ulong ToHalf(float value) => float.IsNaN(value) ? 0x7FFFU : BitConverter.HalfToUInt16Bits((Half)value);
}
