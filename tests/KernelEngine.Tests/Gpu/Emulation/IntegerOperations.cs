using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Integer arithmetic and logic of one lane. What PTX leaves to the machine (division by zero) gives all ones.</summary>
internal static class IntegerOperations
{
    public readonly struct Add<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(a) + Lane.Get<T>(b));
    }

    public readonly struct Subtract<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(a) - Lane.Get<T>(b));
    }

    public readonly struct MultiplyLow<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(unchecked(Lane.Get<T>(a) * Lane.Get<T>(b)));
    }

    public readonly struct MultiplyWide<T, TWide> : ILaneOperation
        where T : unmanaged, INumberBase<T>
        where TWide : unmanaged, INumberBase<TWide>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) =>
            Lane.Put(TWide.CreateTruncating(Lane.Get<T>(a)) * TWide.CreateTruncating(Lane.Get<T>(b)));
    }

    public readonly struct MultiplyHigh<T, TWide> : ILaneOperation
        where T : unmanaged, IBinaryInteger<T>
        where TWide : unmanaged, IBinaryInteger<TWide>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(High<T, TWide>(Lane.Get<T>(a), Lane.Get<T>(b)));
    }

    public readonly struct MultiplyAddLow<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(a) * Lane.Get<T>(b) + Lane.Get<T>(c));
    }

    public readonly struct MultiplyAddWide<T, TWide> : ILaneOperation
        where T : unmanaged, INumberBase<T>
        where TWide : unmanaged, INumberBase<TWide>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) =>
            Lane.Put(TWide.CreateTruncating(Lane.Get<T>(a)) * TWide.CreateTruncating(Lane.Get<T>(b)) + Lane.Get<TWide>(c));
    }

    public readonly struct MultiplyAddHigh<T, TWide> : ILaneOperation
        where T : unmanaged, IBinaryInteger<T>
        where TWide : unmanaged, IBinaryInteger<TWide>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(High<T, TWide>(Lane.Get<T>(a), Lane.Get<T>(b)) + Lane.Get<T>(c));
    }

    public readonly struct Divide<T> : ILaneOperation
        where T : unmanaged, IBinaryInteger<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c)
        {
            T divisor = Lane.Get<T>(b);
            if (T.IsZero(divisor))
                return Lane.Put(T.AllBitsSet);
            return Lane.Put(IsMinusOne(divisor) ? T.Zero - Lane.Get<T>(a) : Lane.Get<T>(a) / divisor);
        }
    }

    public readonly struct Remainder<T> : ILaneOperation
        where T : unmanaged, IBinaryInteger<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c)
        {
            T divisor = Lane.Get<T>(b);
            if (T.IsZero(divisor))
                return Lane.Put(T.AllBitsSet);
            return Lane.Put(IsMinusOne(divisor) ? T.Zero : Lane.Get<T>(a) % divisor);
        }
    }

    public readonly struct Minimum<T> : ILaneOperation
        where T : unmanaged, INumber<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.Min(Lane.Get<T>(a), Lane.Get<T>(b)));
    }

    public readonly struct Maximum<T> : ILaneOperation
        where T : unmanaged, INumber<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.Max(Lane.Get<T>(a), Lane.Get<T>(b)));
    }

    public readonly struct Negate<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.Zero - Lane.Get<T>(a));
    }

    public readonly struct Absolute<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) =>
            Lane.Put(T.IsNegative(Lane.Get<T>(a)) ? T.Zero - Lane.Get<T>(a) : Lane.Get<T>(a));
    }

    public readonly struct SumOfAbsoluteDifference<T> : ILaneOperation
        where T : unmanaged, INumber<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c)
        {
            (T x, T y) = (Lane.Get<T>(a), Lane.Get<T>(b));
            return Lane.Put(Lane.Get<T>(c) + (x < y ? y - x : x - y));
        }
    }

    public readonly struct And<T> : ILaneOperation
        where T : unmanaged
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(a & b));
    }

    public readonly struct Or<T> : ILaneOperation
        where T : unmanaged
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(a | b));
    }

    public readonly struct Xor<T> : ILaneOperation
        where T : unmanaged
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(a ^ b));
    }

    public readonly struct Not<T> : ILaneOperation
        where T : unmanaged
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(~a));
    }

    public readonly struct Move<T> : ILaneOperation
        where T : unmanaged
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(a));
    }

    /// <summary>A shift by the width or more gives zero.</summary>
    public readonly struct ShiftLeft<T> : ILaneOperation
        where T : unmanaged, IBinaryInteger<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) =>
            (uint)b >= Width<T>() ? 0 : Lane.Put(Lane.Get<T>(a) << (int)(uint)b);
    }

    /// <summary>A shift by the width or more gives zero, or the sign everywhere.</summary>
    public readonly struct ShiftRight<T> : ILaneOperation
        where T : unmanaged, IBinaryInteger<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c)
        {
            T value = Lane.Get<T>(a);
            if ((uint)b < Width<T>())
                return Lane.Put(value >> (int)(uint)b);
            return T.IsNegative(value) ? Lane.Put(T.AllBitsSet) : 0;
        }
    }

    private static int Width<T>()
        where T : IBinaryInteger<T> => T.AllBitsSet.GetByteCount() * 8;

    private static bool IsMinusOne<T>(T value)
        where T : IBinaryInteger<T> => T.IsNegative(value) && value == T.AllBitsSet;

    private static T High<T, TWide>(T a, T b)
        where T : unmanaged, IBinaryInteger<T>
        where TWide : unmanaged, IBinaryInteger<TWide> =>
        T.CreateTruncating(TWide.CreateTruncating(a) * TWide.CreateTruncating(b) >> Width<T>());
}
