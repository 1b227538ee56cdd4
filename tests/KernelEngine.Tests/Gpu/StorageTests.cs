using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;
using Half = System.Half;

namespace KernelEngine.Tests.Gpu;

/// <summary>The 16-bit conversions of device code, which are plain integer arithmetic and run on the host too.</summary>
[TestFixture]
public sealed class StorageTests
{
    [Test]
    public void EveryFloat16WidensExactly()
    {
        for (int bits = 0; bits <= ushort.MaxValue; bits++)
        {
            float expected = (float)BitConverter.UInt16BitsToHalf((ushort)bits), actual = Float16Storage.Load((ushort)bits);
            if (!expected.Equals(actual) || float.IsNegative(expected) != float.IsNegative(actual))
                Assert.Fail($"0x{bits:X4} widens to {actual:g9} but is {expected:g9}");
        }
    }

    [Test]
    public void EveryBFloat16WidensExactly()
    {
        for (int bits = 0; bits <= ushort.MaxValue; bits++)
        {
            if (!new BFloat16((ushort)bits).ToSingle().Equals(BFloat16Storage.Load((ushort)bits)))
                Assert.Fail($"0x{bits:X4} widens to {BFloat16Storage.Load((ushort)bits):g9}");
        }
    }

    // Neighbours of every float16 and of every midpoint between two, and random bits.
    [Test]
    public void Float16RoundsToNearestEven() =>
        CheckNarrowing(value => BitConverter.HalfToUInt16Bits((Half)value), Float16Storage.Store, isNaN: bits => (bits & 0x7FFF) > 0x7C00);

    [Test]
    public void BFloat16RoundsToNearestEven() =>
        CheckNarrowing(value => BFloat16.FromSingle(value).Bits, BFloat16Storage.Store, isNaN: bits => (bits & 0x7FFF) > 0x7F80);

    private static void CheckNarrowing(Func<float, ushort> expected, Func<float, ushort> actual, Func<ushort, bool> isNaN)
    {
        foreach (float value in Candidates())
        {
            ushort e = expected(value), a = actual(value);
            if (e != a && !(isNaN(e) && isNaN(a)))
                Assert.Fail($"{value:g9} narrows to 0x{a:X4} but must be 0x{e:X4}");
        }
    }

    private static IEnumerable<float> Candidates()
    {
        for (uint high = 0; high <= ushort.MaxValue; high++)
        {
            foreach (uint low in (uint[])[0, 1, 0x0FFF, 0x1000, 0x1001, 0x2000, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xEFFF, 0xF000, 0xF001, 0xFFFF])
                yield return BitConverter.UInt32BitsToSingle((high << 16) | low);
        }
        var random = new Random(7);
        for (int i = 0; i < 100_000; i++)
            yield return BitConverter.Int32BitsToSingle((int)random.NextInt64(int.MinValue, 1L + int.MaxValue));
        for (int i = 0; i < 100_000; i++)
            yield return (float)(Math.ScaleB(random.NextDouble() - 0.5, random.Next(-30, 3)));
    }
}
