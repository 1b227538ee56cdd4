using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionDecodeMassTests : OperationTests<AttentionDecodeMassCases, AttentionDecodeMassProblem>
{
    private const int Heads = 6, KvHeads = 2, Rows = 3, Keys = 700, HeadDim = 24;

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("cpu-3")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void StepsThatAddAreTheSumOfStepsThatWrite(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        using Tensor first = Draw(device, 1, 1, Rows, Heads, HeadDim), second = Draw(device, 2, 1, Rows, Heads, HeadDim);
        using Tensor key = Draw(device, 3, 1, Keys, KvHeads, HeadDim), value = Draw(device, 4, 1, Keys, KvHeads, HeadDim);
        using Tensor sums = Tensor.Allocate(device, DataType.Float32, 1, Heads, Keys), mass = Tensor.Allocate(device, DataType.Float32, 1, Heads, Keys);
        mass.CopyFrom<float>(Enumerable.Repeat(float.NaN, Heads * Keys).ToArray(), 0);
        var expected = new double[Heads * Keys];
        foreach (Tensor query in (ReadOnlySpan<Tensor>)[first, second])
        {
            Run(device, query, key, value, mass, addsMass: false);
            Run(device, query, key, value, sums, addsMass: true);
            foreach ((int i, float x) in mass.ToArray<float>().Index())
                expected[i] += x;
        }
        Assert.That(sums.ToArray<float>(), Is.EqualTo(expected).Within(1e-6));
        for (int h = 0; h < Heads; h++)
            Assert.That(expected.AsSpan(h * Keys, Keys).ToArray().Sum(), Is.EqualTo(2 * Rows).Within(1e-4), $"head {h}: each row gives one");
    }

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("cpu-3")]
    [TestCase("simulator", Category = "Simulator")]
    public void AHiddenKeyGetsNothingWhereAnotherIsNoNumber(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        using Tensor query = Draw(device, 1, 1, 1, 1, HeadDim), key = Draw(device, 2, 1, Keys, 1, HeadDim), value = Draw(device, 3, 1, Keys, 1, HeadDim);
        key.CopyFrom<float>([float.NaN], 500 * HeadDim);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, 1, 1, HeadDim), lse = Tensor.Allocate(device, DataType.Float32, 1, 1, 1);
        using Tensor mass = Tensor.Allocate(device, DataType.Float32, 1, 1, Keys);
        KernelEngine.Attention.DecodeMass(
            query, key, value, output, lse, mass, new AttentionOptions { IsCausal = true, WindowLeft = 399, SinkCount = 5 }, addsMass: true);
        float[] sums = mass.ToArray<float>();
        Assert.That(lse.ToArray<float>(), Is.All.NaN);
        Assert.That(sums.Take(5).Concat(sums.Skip(Keys - 400)), Is.All.NaN);
        Assert.That(sums.Skip(5).Take(Keys - 405), Is.All.Zero);
    }

    private static void Run(Device device, Tensor query, Tensor key, Tensor value, Tensor mass, bool addsMass)
    {
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, Rows, Heads, HeadDim);
        using Tensor lse = Tensor.Allocate(device, DataType.Float32, 1, Heads, Rows);
        KernelEngine.Attention.DecodeMass(query, key, value, output, lse, mass, AttentionOptions.Causal, addsMass: addsMass);
    }

    private static Tensor Draw(Device device, int seed, params long[] lengths) => RandomTensors.Create(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(lengths), ""), seed);
}
