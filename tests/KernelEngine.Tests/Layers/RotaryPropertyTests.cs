using System.Numerics;

namespace KernelEngine.Tests.Layers;

/// <summary>Rotary tables against published frequencies and complex powers, and what a rotation preserves.</summary>
public sealed class RotaryPropertyTests
{
    private static IEnumerable<Kernel<RotaryProblem>> Kernels => HostKernels.Of(KernelEngine.Layers.RotaryOperation);

    [Test]
    public void Llama3ScalingMatchesItsPublishedFrequencies()
    {
        double[] plain = RotaryTables.CreateFrequencies(128, 5e5), scaled = RotaryTables.CreateFrequencies(128, 5e5, new Llama3RotaryScaling(8));
        for (int i = 0; i < 64; i++)
        {
            if (i <= 28)
                Assert.That(scaled[i], Is.EqualTo(plain[i]), $"pair {i} stays");
            else if (i >= 35)
                Assert.That(scaled[i], Is.EqualTo(plain[i] / 8).Within(1e-20), $"pair {i} is divided");
            else
                Assert.That(scaled[i], Is.GreaterThan(plain[i] / 8).And.LessThan(plain[i]), $"pair {i} is blended");
        }
        Assert.That(scaled[30], Is.EqualTo(1.3718936e-3).Within(5e-11));
        Assert.That(scaled[31], Is.EqualTo(8.5675141e-4).Within(5e-12));
        Assert.That(scaled[32], Is.EqualTo(5.2484616e-4).Within(5e-12));
    }

    [Test]
    public void LinearScalingDividesEveryPosition()
    {
        RotaryTables plain = RotaryTables.Create(10, 16, 1e4), scaled = RotaryTables.Create(40, 16, 1e4, new LinearRotaryScaling(4));
        for (int position = 0; position < 10; position++)
        {
            for (int i = 0; i < 8; i++)
            {
                Assert.That(scaled.Cos[4 * position * 8 + i], Is.EqualTo(plain.Cos[position * 8 + i]).Within(1e-7f));
                Assert.That(scaled.Sin[4 * position * 8 + i], Is.EqualTo(plain.Sin[position * 8 + i]).Within(1e-7f));
            }
        }
    }

    [Test]
    public void TablesArePowersOfOneTurn()
    {
        RotaryTables tables = RotaryTables.Create(3000, 6, 1e4);
        for (int i = 0; i < 3; i++)
        {
            Complex turn = Complex.FromPolarCoordinates(1, 1 / Math.Pow(1e4, i / 3.0)), power = Complex.One;
            for (int position = 0; position < tables.MaxPosition; position++, power *= turn)
            {
                Assert.That(tables.Cos[position * 3 + i], Is.EqualTo(power.Real).Within(1e-7));
                Assert.That(tables.Sin[position * 3 + i], Is.EqualTo(power.Imaginary).Within(1e-7));
            }
        }
    }

    [Test]
    public void NumbersOutOfRangeAreRefused()
    {
        Assert.That(() => RotaryTables.Create(-1, 4, 1e4), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => RotaryTables.Create(4, 3, 1e4), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => RotaryTables.Create(4, 4, 0), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => RotaryTables.Create(int.MaxValue, 4, 1e4), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => new LinearRotaryScaling(0), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => new Llama3RotaryScaling(8, 4, 4), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => new Llama3RotaryScaling(8, 1, 4, 0), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [TestCaseSource(nameof(Kernels))]
    public void ScoresDependOnTheDistanceAlone(Kernel<RotaryProblem> kernel)
    {
        foreach (bool isInterleaved in (bool[])[false, true])
        {
            float[] query = Values(1, 40), key = Values(2, 40);
            double near = Dot(Turn(kernel, query, 9, isInterleaved), Turn(kernel, key, 4, isInterleaved));
            double far = Dot(Turn(kernel, query, 905, isInterleaved), Turn(kernel, key, 900, isInterleaved));
            Assert.That(far, Is.EqualTo(near).Within(1e-4));
        }
    }

    [TestCaseSource(nameof(Kernels))]
    public void BothPairingsAreOneRotationOfPermutedElements(Kernel<RotaryProblem> kernel)
    {
        float[] halfSplit = Values(3, 40), interleaved = new float[40];
        for (int i = 0; i < 20; i++)
            (interleaved[2 * i], interleaved[2 * i + 1]) = (halfSplit[i], halfSplit[i + 20]);
        float[] first = Turn(kernel, halfSplit, 77, false), second = Turn(kernel, interleaved, 77, true);
        for (int i = 0; i < 20; i++)
        {
            Assert.That(second[2 * i], Is.EqualTo(first[i]));
            Assert.That(second[2 * i + 1], Is.EqualTo(first[i + 20]));
        }
    }

    private static float[] Values(int seed, int size)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, size).Select(_ => random.NextSingle() - 0.5f)];
    }

    private static double Dot(float[] a, float[] b) => a.Zip(b, (x, y) => (double)x * y).Sum();

    private static float[] Turn(Kernel<RotaryProblem> kernel, float[] head, int position, bool isInterleaved)
    {
        Device device = HostKernels.DeviceOf(kernel);
        RotaryTables tables = RotaryTables.Create(position + 1, head.Length, 1e4);
        using Tensor values = Tensor.From<float>(device, head, 1, 1, head.Length);
        using Tensor cos = Tensor.From(device, tables.Cos, position + 1, head.Length / 2);
        using Tensor sin = Tensor.From(device, tables.Sin, position + 1, head.Length / 2);
        var problem = new RotaryProblem(1, 1, head.Length, position, head.Length, position + 1, isInterleaved);
        device.Run(KernelEngine.Layers.RotaryOperation, problem, [values, cos, sin], kernel);
        return values.ToArray<float>();
    }
}
