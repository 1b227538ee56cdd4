using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheQuantizeTests : OperationTests<KvCacheQuantizeCases, KvCacheQuantizeProblem>
{
    private const int PageSize = 6, HeadDim = 40, ValueHeadDim = 72;

    [Test]
    public void TwoValuesComeBackExactly([Values(2, 4, 8)] int bits, [Values("cpu", "reference", "simulator")] string deviceName)
    {
        // 2 · 255 / 16 divided by 3, 15 or 255 is a number of binary16.
        float[] keys = Numbers(PageSize * HeadDim, i => (i * 7 / 3 % 2 == 0 ? 1 : -1) * 255f / 16);
        float[] values = Numbers(PageSize * ValueHeadDim, i => (i * 5 / 3 % 2 == 0 ? 1 : -1) * 255f / 16);
        (float[] readKeys, float[] readValues, _, _) = ThereAndBack(TestDevices.Get(deviceName), keys, values, bits);
        Assert.That(readKeys, Is.EqualTo(keys));
        Assert.That(readValues, Is.EqualTo(values));
    }

    [Test]
    public void OneValueHasCodeZeroAndComesBackExactly([Values(2, 4, 8)] int bits)
    {
        float[] keys = Numbers(PageSize * HeadDim, i => i % HeadDim * 0.5f - 3), values = Numbers(PageSize * ValueHeadDim, i => i / 8 * -0.25f);
        for (int i = 0; i < values.Length; i++)
            values[i] = values[i / ValueHeadDim * ValueHeadDim + i % ValueHeadDim / 32 * 32];
        (float[] readKeys, float[] readValues, float[] keyScales, float[] valueScales) = ThereAndBack(TestDevices.Get("cpu"), keys, values, bits);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(readKeys, Is.EqualTo(keys));
            Assert.That(readValues, Is.EqualTo(values));
            Assert.That(keyScales, Has.All.Zero);
            Assert.That(valueScales, Has.All.Zero);
        }
    }

    [TestCase(1f)]
    [TestCase(1e-6f)]
    [TestCase(9000f)]
    public void ErrorsAreHalfAScaleAtMostAndScalesAreTight(float size)
    {
        var random = new Random(3);
        float[] keys = Numbers(PageSize * HeadDim, _ => size * (random.NextSingle() * 5 - 2)), values = Numbers(PageSize * ValueHeadDim, _ => size * (random.NextSingle() - 3));
        foreach (int bits in (int[])[2, 4, 8])
        {
            (float[] readKeys, float[] readValues, float[] keyScales, float[] valueScales) = ThereAndBack(TestDevices.Get("cpu"), keys, values, bits);
            for (int i = 0; i < keys.Length; i++)
                Assert.That(readKeys[i], Is.EqualTo(keys[i]).Within(keyScales[i % HeadDim] * 0.500001 + 1e-7 * size), $"key {i}, {bits} bits");
            for (int i = 0; i < values.Length; i++)
                Assert.That(readValues[i], Is.EqualTo(values[i]).Within(valueScales[i / ValueHeadDim * 3 + i % ValueHeadDim / 32] * 0.500001 + 1e-6 * size), $"value {i}, {bits} bits");
            for (int c = 0; c < HeadDim; c++)
            {
                float[] column = [.. keys.Where((_, i) => i % HeadDim == c)];
                double scale = (column.Max() - column.Min()) / (Math.Pow(2, bits) - 1);
                Assert.That(keyScales[c], Is.EqualTo(scale).Within(scale * 0.004 + 1.2e-7), $"{bits} bits");
            }
        }
    }

    [Test]
    public void WhatIsNoNumberHarmsNothingElse([Values("cpu", "reference", "simulator")] string deviceName)
    {
        float[] keys = Numbers(PageSize * HeadDim, i => i / HeadDim), values = Numbers(PageSize * ValueHeadDim, i => i % 3);
        keys[3] = values[40] = float.NaN;
        keys[HeadDim + 5] = float.PositiveInfinity;
        values[ValueHeadDim + 1] = float.NegativeInfinity;
        (float[] readKeys, float[] readValues, _, _) = ThereAndBack(TestDevices.Get(deviceName), keys, values, 8);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(readKeys[3], Is.Zero.Within(0.02));
            Assert.That(readKeys[2 * HeadDim + 3], Is.EqualTo(2).Within(0.02), "its channel");
            Assert.That(readValues[40], Is.Zero.Within(0.02));
            Assert.That(readKeys[HeadDim + 5], Is.EqualTo(65504).Within(200));
            Assert.That(readValues[ValueHeadDim + 1], Is.EqualTo(-65504));
            Assert.That(readKeys.Concat(readValues), Has.All.Matches<float>(float.IsFinite));
        }
    }

    [TestCase(0, 1, "targetPages[0] must be 0 to 0 but is 1.")]
    [TestCase(-1, 0, "sourcePages[0] must be 0 to 0 but is -1.")]
    public void PagesThatAreNotThereAreRefused(int sourcePage, int targetPage, string message)
    {
        Device device = TestDevices.Get("cpu");
        using Tensor key = Tensor.Allocate(device, DataType.Float32, 1, 2, 1, 8), value = Tensor.Allocate(device, DataType.Float32, 1, 2, 1, 8);
        using Tensor source = Tensor.From<int>(device, [sourcePage], 1), target = Tensor.From<int>(device, [targetPage], 1);
        using var pools = new TestCodes(device, 1, 2, 8, 8, 4);
        Assert.That(() => KvCells.Quantize(key, value, pools.Codes, source, target), Throws.ArgumentException.With.Message.StartsWith(message));
    }

    // Page 1 of two to page 2 of three, and back to page 0; what comes back, and the scales.
    private static (float[] Keys, float[] Values, float[] KeyScales, float[] ValueScales) ThereAndBack(Device device, float[] keys, float[] values, int bits)
    {
        using Tensor key = Tensor.From<float>(device, [.. new float[keys.Length], .. keys], 2, PageSize, 1, HeadDim);
        using Tensor value = Tensor.From<float>(device, [.. new float[values.Length], .. values], 2, PageSize, 1, ValueHeadDim);
        using Tensor zero = Tensor.From<int>(device, [0], 1), one = Tensor.From<int>(device, [1], 1), two = Tensor.From<int>(device, [2], 1);
        using var pools = new TestCodes(device, 3, PageSize, HeadDim, ValueHeadDim, bits);
        KvCells.Quantize(key, value, pools.Codes, one, two);
        KvCells.Dequantize(key, value, pools.Codes, two, zero);
        return (key.ToArray<float>()[..keys.Length], value.ToArray<float>()[..values.Length], LastPage(pools.KeyScale), LastPage(pools.ValueScale));
    }

    private static float[] LastPage(Tensor scales)
    {
        Half[] all = scales.ToArray<Half>();
        return Array.ConvertAll(all[(all.Length / 3 * 2)..], x => (float)x);
    }

    private static float[] Numbers(int count, Func<int, float> number) => [.. Enumerable.Range(0, count).Select(number)];
}
