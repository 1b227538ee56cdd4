using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Instructions on the bits of 32- and 64-bit values.</summary>
internal static class BitOperationsOfPtx
{
    public readonly struct PopCount : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => (ulong)BitOperations.PopCount(a);
    }

    public readonly struct LeadingZeros32 : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => (ulong)BitOperations.LeadingZeroCount((uint)a);
    }

    public readonly struct LeadingZeros64 : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => (ulong)BitOperations.LeadingZeroCount(a);
    }

    public readonly struct Reverse32 : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Reverse64.Apply(a, b, c) >> 32;
    }

    public readonly struct Reverse64 : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c)
        {
            ulong reversed = 0;
            for (int i = 0; i < 64; i++)
                reversed |= (a >> i & 1) << 63 - i;
            return reversed;
        }
    }

    /// <summary>The place of the most significant bit that is not the sign, or all ones.</summary>
    public readonly struct FindUnsigned32 : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => (uint)a == 0 ? uint.MaxValue : (ulong)BitOperations.Log2((uint)a);
    }

    public readonly struct FindSigned32 : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => FindUnsigned32.Apply((int)a < 0 ? ~(uint)a : a, b, c);
    }

    /// <summary>Bytes of the pair (a, b) chosen by the nibbles of c; the top bit of a nibble spreads the byte's sign.</summary>
    public readonly struct Permute : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c)
        {
            ulong bytes = (uint)a | b << 32;
            ulong result = 0;
            for (int i = 0; i < 4; i++)
            {
                int selector = (int)(c >> 4 * i) & 0xF;
                ulong value = bytes >> 8 * (selector & 7) & 0xFF;
                if ((selector & 8) != 0)
                    value = (value & 0x80) != 0 ? 0xFFUL : 0;
                result |= value << 8 * i;
            }
            return result;
        }
    }

    /// <summary>The upper word of (b, a) shifted left by c modulo 32.</summary>
    public readonly struct FunnelLeftWrap : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => (uint)(((uint)a | b << 32) << (int)(c & 31) >> 32);
    }

    public readonly struct FunnelLeftClamp : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => (uint)c >= 32 ? (uint)a : FunnelLeftWrap.Apply(a, b, c);
    }

    /// <summary>The lower word of (b, a) shifted right by c modulo 32.</summary>
    public readonly struct FunnelRightWrap : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => (uint)(((uint)a | b << 32) >> (int)(c & 31));
    }

    public readonly struct FunnelRightClamp : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => (uint)c >= 32 ? (uint)b : FunnelRightWrap.Apply(a, b, c);
    }

    /// <summary>c bits of a from place b on, extended by zeros or by the field's sign; bits beyond the top repeat the sign.</summary>
    public readonly struct Extract<T> : ILaneOperation
        where T : unmanaged, IBinaryInteger<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c)
        {
            (int position, int length) = ((int)(b & 0xFF), (int)(c & 0xFF));
            T value = Lane.Get<T>(a);
            int top = T.AllBitsSet.GetByteCount() * 8 - 1;
            bool isSigned = T.IsNegative(T.AllBitsSet);
            bool sign = isSigned && length != 0 && Bit(value, Math.Min(position + length - 1, top));
            T result = T.Zero;
            for (int i = 0; i <= top; i++)
            {
                bool bit = i < length && position + i <= top ? Bit(value, position + i) : sign;
                if (bit)
                    result |= T.One << i;
            }
            return Lane.Put(result);
        }

        private static bool Bit(T value, int at) => !T.IsZero(value >> at & T.One);
    }
}

/// <summary><c>bfi</c>: a field of one source put into another.</summary>
internal sealed class InsertInstruction(int destination, int source, int target, int position, int length, int width) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            if ((mask >> lane & 1) == 0)
                continue;
            int start = (int)(warp.Slot(position)[lane] & 0xFF);
            int count = Math.Min((int)(warp.Slot(length)[lane] & 0xFF), width - start);
            ulong result = warp.Slot(target)[lane];
            if (start < width && count > 0)
            {
                ulong field = (count == 64 ? ulong.MaxValue : (1UL << count) - 1) << start;
                result = result & ~field | warp.Slot(source)[lane] << start & field;
            }
            warp.Slot(destination)[lane] = result;
        }
    }
}

/// <summary><c>lop3</c>: any function of three bits, given as a table of eight bits.</summary>
internal sealed class LogicInstruction(int destination, int a, int b, int c, byte table) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        ReadOnlySpan<ulong> left = warp.Slot(a);
        ReadOnlySpan<ulong> middle = warp.Slot(b);
        ReadOnlySpan<ulong> right = warp.Slot(c);
        Span<ulong> result = warp.Slot(destination);
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            if ((mask >> lane & 1) == 0)
                continue;
            (uint x, uint y, uint z) = ((uint)left[lane], (uint)middle[lane], (uint)right[lane]);
            uint value = 0;
            for (int row = 0; row < 8; row++)
            {
                if ((table >> row & 1) != 0)
                    value |= ((row & 4) != 0 ? x : ~x) & ((row & 2) != 0 ? y : ~y) & ((row & 1) != 0 ? z : ~z);
            }
            result[lane] = value;
        }
    }
}
