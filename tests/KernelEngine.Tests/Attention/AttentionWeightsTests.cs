using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionWeightsTests : OperationTests<AttentionWeightsCases, AttentionWeightsProblem>
{
    private const double Rounding = 1e-5;

    private static readonly AttentionOptions s_options = new() { IsCausal = true, WindowLeft = 20, SinkCount = 2, LogitSoftCap = 3 };

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void WeightsTimesValueIsTheOutput(string deviceName)
    {
        using var pass = new Pass(deviceName);
        using Tensor weights = Tensor.Allocate(pass.Device, DataType.Float32, 2, Pass.Heads, Pass.Rows, Pass.Keys);
        using Tensor mass = Tensor.Allocate(pass.Device, DataType.Float32, 2, Pass.Heads, Pass.Keys);
        KernelEngine.Attention.Weights(pass.Query, pass.Key, pass.Lse, weights, mass, s_options);
        float[] p = weights.ToArray<float>(), value = pass.Value.ToArray<float>(), output = pass.Output.ToArray<float>(), sums = mass.ToArray<float>();
        for (int b = 0; b < 2; b++)
        {
            for (int h = 0; h < Pass.Heads; h++)
            {
                for (int i = 0; i < Pass.Rows; i++)
                {
                    int row = ((b * Pass.Heads + h) * Pass.Rows + i) * Pass.Keys;
                    Assert.That(p[row..(row + Pass.Keys)].Sum(x => (double)x), Is.EqualTo(1).Within(Rounding));
                    for (int c = 0; c < Pass.HeadDim; c++)
                    {
                        double sum = Enumerable.Range(0, Pass.Keys).Sum(j => (double)p[row + j] * value[((b * Pass.Keys + j) * Pass.KvHeads + h / 2) * Pass.HeadDim + c]);
                        Assert.That(output[((b * Pass.Rows + i) * Pass.Heads + h) * Pass.HeadDim + c], Is.EqualTo(sum).Within(Rounding));
                    }
                }
                for (int j = 0; j < Pass.Keys; j++)
                {
                    double sum = Enumerable.Range(0, Pass.Rows).Sum(i => (double)p[((b * Pass.Heads + h) * Pass.Rows + i) * Pass.Keys + j]);
                    Assert.That(sums[(b * Pass.Heads + h) * Pass.Keys + j], Is.EqualTo(sum).Within(Rounding));
                }
            }
        }
    }

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void PartsOfTheRowsHaveTheMassOfAll(string deviceName)
    {
        using var pass = new Pass(deviceName);
        float[] whole = Mass(pass, 0, Pass.Rows);
        var parts = new float[whole.Length];
        foreach ((int first, int count) in (ReadOnlySpan<(int, int)>)[(0, 11), (11, 1), (12, Pass.Rows - 12)])
        {
            foreach ((int i, float x) in Mass(pass, first, count).Index())
                parts[i] += x;
        }
        Assert.That(parts, Is.EqualTo(whole).Within(Rounding));
    }

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void ARowThatSawNoKeyGivesNone(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        using Tensor query = Tensor.From<float>(device, [1, 2, 3], 1, 3, 1, 1), key = Tensor.From<float>(device, [1], 1, 1, 1, 1);
        using Tensor lse = Tensor.From<float>(device, [float.NegativeInfinity, float.NegativeInfinity, 3], 1, 1, 3);
        using Tensor weights = Tensor.Allocate(device, DataType.Float32, 1, 1, 3, 1), mass = Tensor.Allocate(device, DataType.Float32, 1, 1, 1);
        KernelEngine.Attention.Weights(query, key, lse, weights, mass, AttentionOptions.Causal);
        Assert.That(weights.ToArray<float>(), Is.EqualTo((float[])[0, 0, 1]).Within(1e-6));
        Assert.That(mass.ToArray<float>(), Is.EqualTo((float[])[1]).Within(1e-6));
    }

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void ANaNStaysWithTheRowsThatSeeIt(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        using Tensor query = Tensor.From<float>(device, [1, 1], 1, 2, 1, 1), key = Tensor.From<float>(device, [0, float.NaN, float.NaN], 1, 3, 1, 1);
        using Tensor lse = Tensor.From<float>(device, [float.NaN, float.NaN], 1, 1, 2);
        using Tensor weights = Tensor.Allocate(device, DataType.Float32, 1, 1, 2, 3), mass = Tensor.Allocate(device, DataType.Float32, 1, 1, 3);
        KernelEngine.Attention.Weights(query, key, lse, weights, mass, new AttentionOptions { IsCausal = true, WindowLeft = 0 });
        Assert.That(weights.ToArray<float>(), Is.EqualTo((float[])[0, float.NaN, 0, 0, 0, float.NaN]));
        Assert.That(mass.ToArray<float>(), Is.EqualTo((float[])[0, float.NaN, float.NaN]));
    }

    [Test]
    public void RowsThatAreNotThereAreRefused()
    {
        using var pass = new Pass("cpu");
        using Tensor mass = Tensor.Allocate(pass.Device, DataType.Float32, 2, Pass.Heads, Pass.Keys);
        Assert.That(
            Assert.Catch<ArgumentException>(() => KernelEngine.Attention.Weights(pass.Query, pass.Key, pass.Lse, default, mass, null, default, 5, 10))!.Message,
            Does.Contain("must lie within queryLength=10"));
        Assert.Catch<ArgumentOutOfRangeException>(() => KernelEngine.Attention.Weights(pass.Query, pass.Key, pass.Lse, default, mass, firstRow: -1));
    }

    private static float[] Mass(Pass pass, int first, int count)
    {
        using Tensor mass = Tensor.Allocate(pass.Device, DataType.Float32, 2, Pass.Heads, Pass.Keys);
        KernelEngine.Attention.Weights(
            pass.Query.Slice(1, first, count), pass.Key, pass.Lse.Slice(2, first, count), default, mass, s_options, default, first, Pass.Rows);
        return mass.ToArray<float>();
    }

    /// <summary>A forward pass by the reference, copied to a device.</summary>
    private sealed class Pass : IDisposable
    {
        public const int Rows = 25, Keys = 40, Heads = 4, KvHeads = 2, HeadDim = 12;

        public Pass(string deviceName)
        {
            Device = TestDevices.Get(deviceName);
            Device reference = TestDevices.Get("reference");
            Query = Random(Device, 1, Rows, Heads);
            Key = Random(Device, 2, Keys, KvHeads);
            Value = Random(Device, 3, Keys, KvHeads);
            using Tensor query = Random(reference, 1, Rows, Heads), key = Random(reference, 2, Keys, KvHeads), value = Random(reference, 3, Keys, KvHeads);
            using Tensor output = Tensor.Allocate(reference, DataType.Float32, 2, Rows, Heads, HeadDim), lse = Tensor.Allocate(reference, DataType.Float32, 2, Heads, Rows);
            KernelEngine.Attention.Forward(query, key, value, output, s_options, lse);
            Output = Tensor.From<float>(Device, output.ToArray<float>(), 2, Rows, Heads, HeadDim);
            Lse = Tensor.From<float>(Device, lse.ToArray<float>(), 2, Heads, Rows);
        }

        public Device Device { get; }

        public Tensor Query { get; }

        public Tensor Key { get; }

        public Tensor Value { get; }

        public Tensor Output { get; }

        public Tensor Lse { get; }

        public void Dispose()
        {
            foreach (Tensor tensor in (Tensor[])[Query, Key, Value, Output, Lse])
                tensor.Dispose();
        }

        private static Tensor Random(Device device, int seed, int rows, int heads) => RandomTensors.Create(
            device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(2, rows, heads, HeadDim), ""), seed);
    }
}
