using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// Floating-point arithmetic of one lane. The approximate instructions of PTX give the correctly rounded value or close to it. Sixteen
/// bit types compute in float32 and round once at the end.
/// </summary>
internal static class FloatOperations
{
    public readonly struct Multiply<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(a) * Lane.Get<T>(b));
    }

    public readonly struct Divide<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(Lane.Get<T>(a) / Lane.Get<T>(b));
    }

    public readonly struct FusedMultiplyAdd<T> : ILaneOperation
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) =>
            Lane.Put(T.FusedMultiplyAdd(Lane.Get<T>(a), Lane.Get<T>(b), Lane.Get<T>(c)));
    }

    /// <summary>A NaN beside a number loses; minus zero is less than zero.</summary>
    public readonly struct Minimum<T> : ILaneOperation
        where T : unmanaged, INumber<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.MinNumber(Lane.Get<T>(a), Lane.Get<T>(b)));
    }

    public readonly struct Maximum<T> : ILaneOperation
        where T : unmanaged, INumber<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.MaxNumber(Lane.Get<T>(a), Lane.Get<T>(b)));
    }

    public readonly struct MinimumOrNan<T> : ILaneOperation
        where T : unmanaged, INumber<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.Min(Lane.Get<T>(a), Lane.Get<T>(b)));
    }

    public readonly struct MaximumOrNan<T> : ILaneOperation
        where T : unmanaged, INumber<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.Max(Lane.Get<T>(a), Lane.Get<T>(b)));
    }

    public readonly struct Negate<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(-Lane.Get<T>(a));
    }

    public readonly struct Absolute<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.Abs(Lane.Get<T>(a)));
    }

    public readonly struct Reciprocal<T> : ILaneOperation
        where T : unmanaged, INumberBase<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.One / Lane.Get<T>(a));
    }

    public readonly struct SquareRoot<T> : ILaneOperation
        where T : unmanaged, IRootFunctions<T>
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put(T.Sqrt(Lane.Get<T>(a)));
    }

    public readonly struct ReciprocalSquareRoot : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put((float)(1 / Math.Sqrt(Lane.Single(a))));
    }

    public readonly struct Exponential2 : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put((float)Math.Pow(2, Lane.Single(a)));
    }

    public readonly struct Logarithm2 : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put((float)Math.Log2(Lane.Single(a)));
    }

    public readonly struct Sine : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put((float)Math.Sin(Lane.Single(a)));
    }

    public readonly struct Cosine : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put((float)Math.Cos(Lane.Single(a)));
    }

    public readonly struct HyperbolicTangent : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Put((float)Math.Tanh(Lane.Single(a)));
    }

    /// <summary>The sign of the first source on the magnitude of the second.</summary>
    public readonly struct CopySign : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => a & 0x8000_0000 | b & 0x7FFF_FFFF;
    }

    /// <summary>An operation of two sources applied to three, from left to right.</summary>
    public readonly struct OfThree<TOperation> : ILaneOperation
        where TOperation : struct, ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => TOperation.Apply(TOperation.Apply(a, b, 0), c, 0);
    }

    /// <summary><c>.ftz</c>: subnormal float32 sources and results become zero with their sign.</summary>
    public readonly struct Flushed<TOperation> : ILaneOperation
        where TOperation : struct, ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Flush(TOperation.Apply(Flush(a), Flush(b), Flush(c)));
    }

    /// <summary><c>.sat</c>: the float32 result is clamped to [0, 1], and NaN becomes 0.</summary>
    public readonly struct Saturated<TOperation> : ILaneOperation
        where TOperation : struct, ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c)
        {
            float value = Lane.Single(TOperation.Apply(a, b, c));
            return Lane.Put(value > 0 ? Math.Min(value, 1) : 0f);
        }
    }

    /// <summary>An operation on float32 for one bfloat16.</summary>
    public readonly struct OnBFloat16<TOperation> : ILaneOperation
        where TOperation : struct, ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.ToBFloat16(Lane.Single(TOperation.Apply(
            Lane.Put(Lane.FromBFloat16(a)), Lane.Put(Lane.FromBFloat16(b)), Lane.Put(Lane.FromBFloat16(c)))));
    }

    /// <summary>An operation on float32 for one float16.</summary>
    public readonly struct OnHalf<TOperation> : ILaneOperation
        where TOperation : struct, ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.ToHalf(Lane.Single(TOperation.Apply(
            Lane.Put(Lane.FromHalf(a)), Lane.Put(Lane.FromHalf(b)), Lane.Put(Lane.FromHalf(c)))));
    }

    /// <summary>An operation on sixteen bits for both halves of a register.</summary>
    public readonly struct OnBothHalves<TOperation> : ILaneOperation
        where TOperation : struct, ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) =>
            TOperation.Apply(a & 0xFFFF, b & 0xFFFF, c & 0xFFFF)
            | TOperation.Apply(a >> 16 & 0xFFFF, b >> 16 & 0xFFFF, c >> 16 & 0xFFFF) << 16;
    }

    private static ulong Flush(ulong bits) => (bits & 0x7F80_0000) == 0 ? bits & 0x8000_0000 : bits;
}
