using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheExpectTests : OperationTests<KvCacheExpectCases, KvCacheExpectProblem>
{
    [TestCase("cpu")]
    [TestCase("reference")]
    [TestCase("simulator", Category = "Simulator")]
    [TestCase("opencl", Category = "OpenCL")]
    public void ExpectsWhatManyRandomQueriesPayOnAverage(string deviceName)
    {
        // E exp(scale · q·k) for normal q: drawn many times, against the closed form that the kernels compute.
        const int Slots = 6, HeadDim = 2, Sinks = 1, Draws = 400_000;
        const float Scale = 0.5f;
        float[] keys = [9, 9, 1, 0, 0, 1, -1, 0.5f, 0.3f, -1, 1, 1], mean = [0.4f, -0.2f], values = [1, 2, 0, -1, 3, 4];
        float[] root = [0.9f, 0, 0.5f, 0.7f]; // Σ = root · rootᵀ
        float[] covariance = [root[0] * root[0], root[0] * root[2], root[2] * root[0], root[2] * root[2] + root[3] * root[3]];
        float[] scores = Expect(deviceName, mean, covariance, keys, values, [Slots], Scale, 0.25f, Sinks);

        var random = new Random(1);
        var expected = new double[Slots];
        for (int i = 0; i < Draws; i++)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())), angle = 2 * Math.PI * random.NextDouble();
            double x = radius * Math.Cos(angle), y = radius * Math.Sin(angle);
            double q0 = mean[0] + root[0] * x, q1 = mean[1] + root[2] * x + root[3] * y;
            for (int j = Sinks; j < Slots; j++)
                expected[j] += Math.Exp(Scale * (q0 * keys[j * HeadDim] + q1 * keys[j * HeadDim + 1]));
        }
        double total = expected.Sum();
        Assert.That(scores[0], Is.EqualTo(float.PositiveInfinity));
        for (int j = Sinks; j < Slots; j++)
            Assert.That(scores[j], Is.EqualTo((expected[j] / total + 0.25) * Math.Abs(values[j])).Within(0.005), $"slot {j}");
    }

    [Test]
    public void WithoutSpreadItIsTheAttentionOfTheMean()
    {
        const int Slots = 4;
        float[] keys = [0, 0, MathF.Log(2), 0, MathF.Log(3), 5, 100, 100], values = [1, -1, 2, 7];
        float[] scores = Expect("cpu", [1, 0], new float[4], keys, values, [3], 1, 0, 0);
        Assert.That(scores, Is.EqualTo((float[])[1 / 6f, 2 / 6f, 2 * 3 / 6f, float.NegativeInfinity]).Within(1e-6f));
        Assert.That(Expect("cpu", [1, 0], new float[4], keys, values, [0], 1, 0, 0), Is.All.EqualTo(float.NegativeInfinity));
        Assert.That(
            Expect("cpu", [1, 0], new float[4], keys, values, [3], 1, 0, 3),
            Is.EqualTo((float[])[float.PositiveInfinity, float.PositiveInfinity, float.PositiveInfinity, float.NegativeInfinity]));
        Assert.That(scores, Has.Length.EqualTo(Slots));
    }

    [Test]
    public void TheHeadsOfAGroupAreAveraged()
    {
        // Two heads: one attends to slot 0 alone, the other to both alike.
        float[] scores = Expect("cpu", [1000, 0, 0, 0], new float[8], [1, 0, 0, 0], [1, 1], [2], 1, 0, 0);
        Assert.That(scores, Is.EqualTo((float[])[0.75f, 0.25f]).Within(1e-6f));
    }

    [Test]
    public void BadSizesAndLengthsAreRefused()
    {
        Assert.That(() => Expect("cpu", [1, 0], new float[4], [1, 0, 0, 0], [1, 1], [3], 1, 0, 0),
            Throws.ArgumentException.With.Message.Contains("lengths[0]"));
        Assert.That(() => Expect("cpu", [1, 0], new float[4], [1, 0, 0, 0], [1, 1], [2], float.NaN, 0, 0),
            Throws.ArgumentException.With.Message.Contains("finite"));
        Assert.That(() => Expect("cpu", [1, 0], new float[4], [1, 0, 0, 0], [1, 1], [2], 1, 0, -1),
            Throws.ArgumentException.With.Message.Contains("negative"));
    }

    // One cell of one page, keys of two elements and values of one.
    private static float[] Expect(
        string deviceName, float[] mean, float[] covariance, float[] keys, float[] values, int[] lengths, float scale, float epsilon,
        int sinkCount)
    {
        Device device = TestDevices.Get(deviceName);
        int heads = mean.Length / 2, slots = values.Length;
        using Tensor queryMean = Tensor.From<float>(device, mean, heads, 2),
            queryCovariance = Tensor.From<float>(device, covariance, heads, 2, 2);
        using Tensor key = Tensor.From<float>(device, keys, 1, slots, 1, 2), value = Tensor.From<float>(device, values, 1, slots, 1, 1);
        using Tensor table = Tensor.From<int>(device, [0], 1, 1), used = Tensor.From<int>(device, lengths, 1);
        using Tensor scores = Tensor.Allocate(device, DataType.Float32, 1, slots);
        KvCells.Expect(queryMean, queryCovariance, key, value, table, used, scores, scale, epsilon, sinkCount);
        return scores.ToArray<float>();
    }
}
