using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Conversions of one lane.</summary>
internal static class ConversionOperations
{
    public readonly struct Truncate<TFrom, TTo> : ILaneOperation
        where TFrom : unmanaged, INumberBase<TFrom>
        where TTo : unmanaged, INumberBase<TTo>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(TTo.CreateTruncating(Lane.Get<TFrom>(a)));
    }

    public readonly struct Saturate<TFrom, TTo> : ILaneOperation
        where TFrom : unmanaged, INumberBase<TFrom>
        where TTo : unmanaged, INumberBase<TTo>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(TTo.CreateSaturating(Lane.Get<TFrom>(a)));
    }

    /// <summary>A float rounded to an integer; out of range gives the nearest limit, NaN gives 0, or the top bit where 64 bits take part.</summary>
    public readonly struct FloatToInteger<TFrom, TTo, TRounding> : ILaneOperation
        where TFrom : unmanaged, IFloatingPoint<TFrom>
        where TTo : unmanaged, IBinaryInteger<TTo>
        where TRounding : struct, IRounding
    {
        public static ulong Apply(ulong a, ulong b, ulong c)
        {
            TFrom value = Lane.Get<TFrom>(a);
            int bits = TTo.AllBitsSet.GetByteCount() * 8;
            if (TFrom.IsNaN(value))
                return bits == 64 || typeof(TFrom) == typeof(double) ? 1UL << bits - 1 : 0;
            return Lane.Put(TTo.CreateSaturating(TFrom.Round(value, TRounding.Mode)));
        }
    }

    public readonly struct RoundToInteger<T, TRounding> : ILaneOperation
        where T : unmanaged, IFloatingPoint<T>
        where TRounding : struct, IRounding
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.Round(Lane.Get<T>(a), TRounding.Mode));
    }

    public readonly struct BFloat16ToSingle : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.FromBFloat16(a));
    }

    public readonly struct SingleToBFloat16 : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.ToBFloat16(Lane.Single(a));
    }

    public readonly struct SingleToHalf : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.ToHalf(Lane.Single(a));
    }

    /// <summary>The upper half comes from the first source, the lower half from the second.</summary>
    public readonly struct SinglesToBFloat16Pair : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.ToBFloat16(Lane.Single(a)) << 16 | Lane.ToBFloat16(Lane.Single(b));
    }

    /// <summary>The upper half comes from the first source, the lower half from the second.</summary>
    public readonly struct SinglesToHalfPair : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.ToHalf(Lane.Single(a)) << 16 | Lane.ToHalf(Lane.Single(b));
    }

    /// <summary>Negative results become zero before the operation that narrows them.</summary>
    public readonly struct Rectified<TOperation> : ILaneOperation
        where TOperation : struct, ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => TOperation.Apply(Rectify(a), Rectify(b), c);

        private static ulong Rectify(ulong bits) => Lane.Single(bits) < 0 || bits == 0x8000_0000 ? 0 : bits;
    }

    /// <summary>float32 to tf32: ten bits of mantissa, halves rounded away from zero.</summary>
    public readonly struct SingleToTensorFloat : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => float.IsFinite(Lane.Single(a)) ? (uint)(a + 0x1000) & 0xFFFF_E000 : a;
    }

    public interface IRounding
    {
        static abstract MidpointRounding Mode { get; }
    }

    public readonly struct ToNearestEven : IRounding
    {
        public static MidpointRounding Mode => MidpointRounding.ToEven;
    }

    public readonly struct TowardsZero : IRounding
    {
        public static MidpointRounding Mode => MidpointRounding.ToZero;
    }

    public readonly struct Down : IRounding
    {
        public static MidpointRounding Mode => MidpointRounding.ToNegativeInfinity;
    }

    public readonly struct Up : IRounding
    {
        public static MidpointRounding Mode => MidpointRounding.ToPositiveInfinity;
    }
}
