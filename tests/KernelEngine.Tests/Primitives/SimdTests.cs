using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Tests.Primitives;

/// <summary>The vector instructions of each width against scalar arithmetic, lane by lane.</summary>
[TestFixture(typeof(Simd512), typeof(Vector512<float>))]
[TestFixture(typeof(Simd256), typeof(Vector256<float>))]
[TestFixture(typeof(Simd128), typeof(Vector128<float>))]
public sealed unsafe class SimdTests<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    [OneTimeSetUp]
    public void NeedsTheInstructions()
    {
        if (TSimd.WhyUnavailable is { } reason)
            Assert.Ignore(reason);
    }

    [Test]
    public void WidthIsThatOfTheRegister() => Assert.That(TSimd.Width * sizeof(float), Is.EqualTo(sizeof(TVector)));

    [Test]
    public void LoadFloat16WidensEveryNumberExactly()
    {
        foreach ((ushort bits, float actual) in Widen(isBFloat16: false))
        {
            float expected = (float)BitConverter.UInt16BitsToHalf(bits);
            if (float.IsNaN(expected) ? !float.IsNaN(actual) : Bits(actual) != Bits(expected))
                Assert.Fail($"binary16 0x{bits:X4} is {expected:g9} but was widened to {actual:g9}.");
        }
    }

    [Test]
    public void LoadBFloat16WidensEveryNumberExactly()
    {
        foreach ((ushort bits, float actual) in Widen(isBFloat16: true))
        {
            if (Bits(actual) != (uint)bits << 16)
                Assert.Fail($"bfloat16 0x{bits:X4} was widened to the bits 0x{Bits(actual):X8}.");
        }
    }

    [Test]
    public void LoadInt8ConvertsEveryNumberExactly()
    {
        sbyte* narrow = stackalloc sbyte[TSimd.Width];
        for (int first = sbyte.MinValue; first <= sbyte.MaxValue; first += TSimd.Width)
        {
            for (int i = 0; i < TSimd.Width; i++)
                narrow[i] = (sbyte)(first + i);
            Assert.That(Lanes(TSimd.LoadInt8(narrow)), Is.EqualTo(Enumerable.Range(first, TSimd.Width).Select(i => (float)i)));
        }
    }

    [Test]
    public void StoreFloat16RoundsToNearestEven()
    {
        foreach ((float value, ushort actual) in Narrow(isBFloat16: false))
        {
            // The nearer of the two neighbours in exact arithmetic, the even one when both are as near.
            ushort expected = float.IsNaN(value) ? (ushort)0 : NearestHalf(value);
            bool isRight = float.IsNaN(value)
                ? Half.IsNaN(BitConverter.UInt16BitsToHalf(actual)) && (actual & 0x200) != 0 && actual >> 15 == Bits(value) >> 31
                : actual == expected;
            if (!isRight)
                Assert.Fail($"{value:g9} (0x{Bits(value):X8}) became 0x{actual:X4} but must be 0x{expected:X4}.");
        }
    }

    [Test]
    public void StoreBFloat16RoundsToNearestEven()
    {
        foreach ((float value, ushort actual) in Narrow(isBFloat16: true))
        {
            uint bits = Bits(value), below = bits >> 16, rest = bits & 0xFFFF;
            uint expected = rest > 0x8000 || (rest == 0x8000 && (below & 1) == 1) ? below + 1 : below;
            bool isRight = float.IsNaN(value)
                ? (actual & 0x7FC0) == 0x7FC0 && actual >> 15 == bits >> 31
                : actual == expected;
            if (!isRight)
                Assert.Fail($"{value:g9} (0x{bits:X8}) became 0x{actual:X4} but must be 0x{expected:X4}.");
        }
    }

    [Test]
    public void Exp2IsWithinItsBound()
    {
        const double Bound = 1.2e-7;
        double worst = 0;
        float worstAt = 0;
        foreach ((float x, float actual) in Exp2(Grid()))
        {
            double expected = Math.Pow(2, x);
            double error = Math.Abs(actual - expected) / expected;
            if (x >= -126 && error > worst)
                (worst, worstAt) = (error, x);
            if (x < -126 && !(Math.Abs(actual - expected) <= Math.ScaleB(1, -126)))
                Assert.Fail($"2^{x:g9} is {expected:g9} but was {actual:g9}.");
        }
        Assert.That(worst, Is.LessThanOrEqualTo(Bound), $"at {worstAt:g9}");
    }

    [Test]
    public void Exp2OfSpecialValues()
    {
        float[] inputs = [0f, -0f, float.NegativeInfinity, float.NaN, -1, -126, -1e30f, float.MinValue, -float.Epsilon, -200];
        float[] expected = [1, 1, 0, float.NaN, 0.5f, MathF.ScaleB(1, -126), 0, 0, 1, 0];
        Assert.That(Exp2(inputs).Select(p => p.Result), Is.EqualTo(expected));
    }

    [Test]
    public void SwapPairsExchangesNeighbours()
    {
        TVector result = TSimd.SwapPairs(Counting());
        for (int i = 0; i < TSimd.Width; i++)
            Assert.That(((float*)&result)[i], Is.EqualTo(i ^ 1));
    }

    [Test]
    public void StoreSixteenSumsKeepsTheirOrder()
    {
        // Lane i of vector v is v · 1000 + i: sums are exact.
        float* target = stackalloc float[16];
        TSimd.StoreSixteenSums(
            V(0), V(1), V(2), V(3), V(4), V(5), V(6), V(7), V(8), V(9), V(10), V(11), V(12), V(13), V(14), V(15), target);
        int w = TSimd.Width;
        Assert.That(new Span<float>(target, 16).ToArray(), Is.EqualTo(Enumerable.Range(0, 16).Select(v => (float)(w * 1000 * v + w * (w - 1) / 2))));

        static TVector V(int number) => TSimd.Add(TSimd.Broadcast(1000 * number), TSimd.Lanes);
    }

    [Test]
    public void EqualMaskHasABitForEachEqualLane()
    {
        for (int lane = 0; lane < TSimd.Width; lane++)
            Assert.That(TSimd.EqualMask(Counting(), TSimd.Broadcast(lane)), Is.EqualTo(1u << lane));
        Assert.That(TSimd.EqualMask(TSimd.Broadcast(float.NaN), TSimd.Broadcast(float.NaN)), Is.Zero);
        Assert.That(TSimd.EqualMask(TSimd.Broadcast(0f), TSimd.Broadcast(-0f)), Is.EqualTo((1u << TSimd.Width) - 1));
    }

    [Test]
    public void TanhIsWithinItsBound()
    {
        const double Bound = 2.5e-7;
        var inputs = new List<float>();
        for (float x = 1e-30f; x < 20; x *= 1.0003f)
            inputs.AddRange([x, -x]);
        for (float x = 0.5f; x < 0.6f; x += 1e-6f)
            inputs.Add(x);
        foreach ((float x, float actual) in Map(inputs, HyperbolicTangent.Of<TSimd, TVector>))
        {
            double expected = Math.Tanh(x);
            if (!(Math.Abs(actual - expected) <= Bound * Math.Abs(expected)))
                Assert.Fail($"tanh {x:g9} is {expected:g9} but was {actual:g9}.");
        }
    }

    [Test]
    public void TanhOfSpecialValues()
    {
        float[] inputs = [0f, -0f, float.PositiveInfinity, float.NegativeInfinity, float.NaN, 100, -1e30f, float.MaxValue, float.Epsilon];
        float[] expected = [0, -0f, 1, -1, float.NaN, 1, -1, 1, float.Epsilon];
        Assert.That(Map(inputs, HyperbolicTangent.Of<TSimd, TVector>).Select(p => p.Result), Is.EqualTo(expected));
    }

    [Test]
    public void LanesCount() => Assert.That(Lanes(TSimd.Lanes), Is.EqualTo(Lanes(Counting())));

    [Test]
    public void AbsClearsTheSignAlone() =>
        Assert.That(Map([-2f, 3f, -0f, float.NegativeInfinity], TSimd.Abs).Select(p => Bits(p.Result)), Is.EqualTo(new[] { 2f, 3f, 0f, float.PositiveInfinity }.Select(Bits)));

    [Test]
    public void CopySignTakesTheSignOfTheSecond()
    {
        TVector two = TSimd.Broadcast(2f);
        Assert.That(Map([-5f, 7f, -0f, 0f, float.NegativeInfinity], x => TSimd.CopySign(two, x)).Select(p => p.Result), Is.EqualTo(new[] { -2f, 2f, -2f, 2f, -2f }));
        Assert.That(Map([-5f, 7f], x => TSimd.CopySign(x, two)).Select(p => p.Result), Is.EqualTo(new[] { 5f, 7f }));
    }

    [Test]
    public void SelectLessChoosesByLane()
    {
        TVector limit = TSimd.Broadcast(1f), less = TSimd.Broadcast(-10f), other = TSimd.Broadcast(10f);
        (float, float)[] results = [.. Map([0.5f, 1f, 2f, float.NaN, float.NegativeInfinity, float.PositiveInfinity], x => TSimd.SelectLess(x, limit, less, other))];
        Assert.That(results.Select(p => p.Item2), Is.EqualTo(new[] { -10f, 10f, 10f, 10f, -10f, 10f }));
    }

    [Test]
    public void HideFalseHidesTheLanesWhoseByteIsZero()
    {
        byte* isVisible = stackalloc byte[TSimd.Width];
        for (int lane = 0; lane < TSimd.Width; lane++)
        {
            for (int i = 0; i < TSimd.Width; i++)
                isVisible[i] = (byte)(i == lane ? 0 : 1 + 16 * i);
            float[] expected = Lanes(Counting());
            expected[lane] = float.NegativeInfinity;
            Assert.That(Lanes(TSimd.HideFalse(Counting(), isVisible)), Is.EqualTo(expected));
        }
        isVisible[0] = 0;
        Assert.That(Lanes(TSimd.HideFalse(TSimd.Broadcast(float.NaN), isVisible))[0], Is.EqualTo(float.NegativeInfinity), "even a NaN");
    }

    private static float[] Lanes(TVector value) => new ReadOnlySpan<float>(&value, TSimd.Width).ToArray();

    private static TVector Counting()
    {
        TVector value = TSimd.Zero;
        for (int i = 0; i < TSimd.Width; i++)
            ((float*)&value)[i] = i;
        return value;
    }

    private static uint Bits(float value) => BitConverter.SingleToUInt32Bits(value);

    private static ushort NearestHalf(float value)
    {
        ushort sign = (ushort)(Bits(value) >> 16 & 0x8000);
        if (float.IsInfinity(value))
            return (ushort)(sign | 0x7C00);
        double magnitude = Math.Abs((double)value);
        // The spacing of binary16 at this magnitude; rounding the quotient to even is rounding to the even neighbour.
        int exponent = Math.Max(magnitude == 0 ? -14 : Math.ILogB(magnitude), -14);
        double rounded = Math.Round(magnitude / Math.ScaleB(1, exponent - 10), MidpointRounding.ToEven) * Math.ScaleB(1, exponent - 10);
        return (ushort)(sign | (rounded >= 65536 ? 0x7C00 : BitConverter.HalfToUInt16Bits((Half)rounded)));
    }

    private static IEnumerable<float> Grid()
    {
        for (int i = -8 * 2000; i <= 150 * 2000; i++)
            yield return -i / 2000f;
        var random = new Random(1);
        for (int i = 0; i < 200_000; i++)
            yield return -random.NextSingle();
    }

    // Every number of the narrow type, the midpoint to its neighbour, and the floats just beside both; then any bits.
    private static float[] Awkward(bool isBFloat16)
    {
        var values = new List<float>();
        for (int bits = 0; bits < 1 << 16; bits++)
        {
            float value = isBFloat16 ? BitConverter.UInt32BitsToSingle((uint)bits << 16) : (float)BitConverter.UInt16BitsToHalf((ushort)bits);
            float next = isBFloat16 || bits + 1 > ushort.MaxValue
                ? BitConverter.UInt32BitsToSingle(Bits(value) + 0x8000)
                : (value + (float)BitConverter.UInt16BitsToHalf((ushort)(bits + 1))) / 2;
            values.AddRange([value, MathF.BitIncrement(value), MathF.BitDecrement(value), next, MathF.BitIncrement(next), MathF.BitDecrement(next)]);
        }
        values.AddRange([65504f, 65519.996f, 65520f, 65536f, 1e30f, float.MaxValue, float.Epsilon, -float.Epsilon, MathF.ScaleB(1, -25)]);
        var random = new Random(2);
        for (int i = 0; i < 100_000; i++)
            values.Add(BitConverter.Int32BitsToSingle((int)random.NextInt64(int.MinValue, 1L << 31)));
        return [.. values];
    }

    private static List<(ushort Bits, float Value)> Widen(bool isBFloat16)
    {
        var results = new List<(ushort, float)>(1 << 16);
        ushort* narrow = stackalloc ushort[TSimd.Width];
        for (int first = 0; first < 1 << 16; first += TSimd.Width)
        {
            for (int i = 0; i < TSimd.Width; i++)
                narrow[i] = (ushort)(first + i);
            TVector wide = isBFloat16 ? TSimd.LoadBFloat16(narrow) : TSimd.LoadFloat16(narrow);
            for (int i = 0; i < TSimd.Width; i++)
                results.Add((narrow[i], ((float*)&wide)[i]));
        }
        return results;
    }

    private static List<(float Value, ushort Bits)> Narrow(bool isBFloat16)
    {
        float[] values = Awkward(isBFloat16);
        var results = new List<(float, ushort)>(values.Length);
        ushort* narrow = stackalloc ushort[TSimd.Width + 1];
        for (int first = 0; first < values.Length; first += TSimd.Width)
        {
            TVector wide = TSimd.Zero;
            int count = Math.Min(TSimd.Width, values.Length - first);
            for (int i = 0; i < count; i++)
                ((float*)&wide)[i] = values[first + i];
            narrow[TSimd.Width] = 0xABCD;
            if (isBFloat16)
                TSimd.StoreBFloat16(wide, narrow);
            else
                TSimd.StoreFloat16(wide, narrow);
            Assert.That(narrow[TSimd.Width], Is.EqualTo(0xABCD), "wrote beyond its width");
            for (int i = 0; i < count; i++)
                results.Add((values[first + i], narrow[i]));
        }
        return results;
    }

    private static List<(float Value, float Result)> Exp2(IEnumerable<float> values) => Map(values, TSimd.Exp2);

    private static List<(float Value, float Result)> Map(IEnumerable<float> values, Func<TVector, TVector> function)
    {
        var results = new List<(float, float)>();
        foreach (float[] chunk in values.Chunk(TSimd.Width))
        {
            TVector x = TSimd.Zero;
            for (int i = 0; i < chunk.Length; i++)
                ((float*)&x)[i] = chunk[i];
            TVector y = function(x);
            for (int i = 0; i < chunk.Length; i++)
                results.Add((chunk[i], ((float*)&y)[i]));
        }
        return results;
    }
}
