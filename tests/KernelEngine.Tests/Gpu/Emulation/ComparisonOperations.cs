using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>A test of two sources in one lane.</summary>
internal interface ILaneTest
{
    static abstract bool Test(ulong a, ulong b);
}

/// <summary>
/// The comparisons of <c>setp</c>. The operators of .NET are ordered (false with a NaN) except <c>!=</c>; the unordered forms negate.
/// </summary>
internal static class ComparisonOperations
{
    public readonly struct Equal<T> : ILaneTest
        where T : unmanaged, INumber<T>
    {
        public static bool Test(ulong a, ulong b) => Lane.Get<T>(a) == Lane.Get<T>(b);
    }

    public readonly struct NotEqual<T> : ILaneTest
        where T : unmanaged, INumber<T>
    {
        public static bool Test(ulong a, ulong b) => Lane.Get<T>(a) < Lane.Get<T>(b) || Lane.Get<T>(a) > Lane.Get<T>(b);
    }

    public readonly struct Less<T> : ILaneTest
        where T : unmanaged, INumber<T>
    {
        public static bool Test(ulong a, ulong b) => Lane.Get<T>(a) < Lane.Get<T>(b);
    }

    public readonly struct LessOrEqual<T> : ILaneTest
        where T : unmanaged, INumber<T>
    {
        public static bool Test(ulong a, ulong b) => Lane.Get<T>(a) <= Lane.Get<T>(b);
    }

    public readonly struct Greater<T> : ILaneTest
        where T : unmanaged, INumber<T>
    {
        public static bool Test(ulong a, ulong b) => Lane.Get<T>(a) > Lane.Get<T>(b);
    }

    public readonly struct GreaterOrEqual<T> : ILaneTest
        where T : unmanaged, INumber<T>
    {
        public static bool Test(ulong a, ulong b) => Lane.Get<T>(a) >= Lane.Get<T>(b);
    }

    /// <summary>Both are numbers.</summary>
    public readonly struct Ordered<T> : ILaneTest
        where T : unmanaged, INumber<T>
    {
        public static bool Test(ulong a, ulong b) => !T.IsNaN(Lane.Get<T>(a)) && !T.IsNaN(Lane.Get<T>(b));
    }

    public readonly struct Not<TTest> : ILaneTest
        where TTest : struct, ILaneTest
    {
        public static bool Test(ulong a, ulong b) => !TTest.Test(a, b);
    }

    /// <summary>A test on float32 for bfloat16.</summary>
    public readonly struct OnBFloat16<TTest> : ILaneTest
        where TTest : struct, ILaneTest
    {
        public static bool Test(ulong a, ulong b) => TTest.Test(Lane.Put(Lane.FromBFloat16(a)), Lane.Put(Lane.FromBFloat16(b)));
    }

    public readonly struct IsFinite : ILaneTest
    {
        public static bool Test(ulong a, ulong b) => float.IsFinite(Lane.Single(a));
    }

    public readonly struct IsInfinite : ILaneTest
    {
        public static bool Test(ulong a, ulong b) => float.IsInfinity(Lane.Single(a));
    }

    public readonly struct IsNumber : ILaneTest
    {
        public static bool Test(ulong a, ulong b) => !float.IsNaN(Lane.Single(a));
    }

    public readonly struct IsNotNumber : ILaneTest
    {
        public static bool Test(ulong a, ulong b) => float.IsNaN(Lane.Single(a));
    }
}

/// <summary>How <c>setp</c> joins its result with a predicate.</summary>
internal enum PredicateJoin
{
    None,
    And,
    Or,
    Xor,
}

/// <summary><c>setp</c> and <c>testp</c>: tests every lane into a predicate, and its complement into a second one.</summary>
internal sealed class CompareInstruction<TTest>(int destination, int complement, int a, int b, PredicateJoin join, PredicateUse joined)
    : PtxInstruction
    where TTest : struct, ILaneTest
{
    public override void Execute(Warp warp, uint mask)
    {
        ReadOnlySpan<ulong> left = warp.Slot(a);
        ReadOnlySpan<ulong> right = warp.Slot(b);
        uint result = 0;
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            if ((mask >> lane & 1) != 0 && TTest.Test(left[lane], right[lane]))
                result |= 1U << lane;
        }
        uint other = join == PredicateJoin.None ? 0 : joined.Lanes(warp);
        warp.SetPredicate(destination, mask, Join(result, other));
        warp.SetPredicate(complement, mask, Join(~result, other));
    }

    private uint Join(uint result, uint other) => join switch
    {
        PredicateJoin.And => result & other,
        PredicateJoin.Or => result | other,
        PredicateJoin.Xor => result ^ other,
        _ => result,
    };
}
