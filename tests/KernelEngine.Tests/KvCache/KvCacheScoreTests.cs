using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheScoreTests : OperationTests<KvCacheScoreCases, KvCacheScoreProblem>
{
    private const float Up = float.PositiveInfinity, Down = float.NegativeInfinity;

    [TestCase("cpu")]
    [TestCase("reference")]
    [TestCase("simulator", Category = "Simulator")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("cuda", Category = "Cuda")]
    public void ScoresWrittenOutByHand(string deviceName)
    {
        // One cell of two heads, seven slots of which six are in use.
        float[] mass = [1, 2, 9, 4, 0, 6, 100, 3, 0, 1, 4, 2, 0, 100];
        Assert.That(Score(deviceName, mass, new KvScoreOptions()), Is.EqualTo((float[])[2, 1, 5, 4, 1, 3, Down]));
        Assert.That(Score(deviceName, mass, new KvScoreOptions { Aggregate = KvAggregate.Sum, Scale = -1 }),
            Is.EqualTo((float[])[-4, -2, -10, -8, -2, -6, Down]));
        Assert.That(Score(deviceName, mass, new KvScoreOptions { Aggregate = KvAggregate.Max }),
            Is.EqualTo((float[])[3, 2, 9, 4, 2, 6, Down]));
        Assert.That(
            Score(deviceName, mass, new KvScoreOptions { Pooling = KvPooling.Mean, PoolSize = 3, Scale = 3 }),
            Is.EqualTo((float[])[3, 8, 10, 10, 8, 4, Down]).Within(1e-6f));
        Assert.That(Score(deviceName, mass, new KvScoreOptions { Pooling = KvPooling.Max, PoolSize = 3, Scale = -1 }),
            Is.EqualTo((float[])[-1, -1, -1, -1, -1, -1, Down]));
        Assert.That(
            Score(deviceName, mass, new KvScoreOptions { Pooling = KvPooling.Max, PoolSize = 5, SinkCount = 1, RecentCount = 3 }),
            Is.EqualTo((float[])[Up, 5, 5, Up, Up, Up, Down]), "the recent slot of 4 does not reach into the others");
        Assert.That(Score(deviceName, mass, new KvScoreOptions { RecentCount = 70 }), Is.EqualTo((float[])[Up, Up, Up, Up, Up, Up, Down]));
    }

    [Test]
    public void BadOptionsAreRefused()
    {
        Device device = TestDevices.Get("cpu");
        using Tensor mass = Tensor.From<float>(device, new float[12], 3, 4), lengths = Tensor.From<int>(device, [4], 1);
        using Tensor scores = Tensor.From<float>(device, [7, 7, 7, 7], 1, 4), two = Tensor.From<float>(device, new float[8], 2, 4),
            longer = Tensor.From<int>(device, [5], 1);
        foreach (KvScoreOptions options in (KvScoreOptions[])
            [
                new() { Pooling = KvPooling.Max, PoolSize = 4 }, new() { Pooling = KvPooling.Max, PoolSize = -1 },
                new() { Pooling = KvPooling.Mean, PoolSize = 1025 },
                new() { PoolSize = 3 }, new() { SinkCount = -1 }, new() { RecentCount = -1 }, new() { Scale = float.NaN },
                new() { Aggregate = (KvAggregate)7 },
            ])
        {
            Assert.That(() => KvCells.Score(mass, lengths, scores, options), Throws.ArgumentException, options.ToString());
        }
        Assert.That(() => KvCells.Score(mass, lengths, two), Throws.ArgumentException.With.Message.Contains("numHeads=3"));
        Assert.That(() => KvCells.Score(mass, longer, scores), Throws.ArgumentException.With.Message.Contains("lengths[0]"));
        Assert.That(scores.ToArray<float>(), Is.All.EqualTo(7));
    }

    private static float[] Score(string deviceName, float[] mass, KvScoreOptions options)
    {
        Device device = TestDevices.Get(deviceName);
        using Tensor columnMass = Tensor.From<float>(device, mass, 2, 7), lengths = Tensor.From<int>(device, [6], 1);
        using Tensor scores = Tensor.Allocate(device, DataType.Float32, 1, 7);
        KvCells.Score(columnMass, lengths, scores, options);
        return scores.ToArray<float>();
    }
}
