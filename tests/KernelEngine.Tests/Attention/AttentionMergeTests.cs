using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionMergeTests : OperationTests<AttentionMergeCases, AttentionMergeProblem>
{
    // Sums of a few hundred terms of order one in another order.
    private const double Rounding = 1e-5;

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void AttentionOverThreePartsOfTheKeysIsAttentionOverAll(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        var whole = new AttentionProblem(2, 4, 2, 3, 50, 24, 20);
        using Tensor query = RandomTensors.Create(device, whole.GetOperand(AttentionProblem.Query), 1);
        using Tensor key = RandomTensors.Create(device, whole.GetOperand(AttentionProblem.Key), 2);
        using Tensor value = RandomTensors.Create(device, whole.GetOperand(AttentionProblem.Value), 3);
        using var expected = new State(device, whole);
        expected.Forward(query, key, value);

        using var merged = new State(device, whole);
        merged.Forward(query, key.Slice(1, 40, 10), value.Slice(1, 40, 10));
        foreach ((int start, int length) in (ReadOnlySpan<(int, int)>)[(0, 17), (17, 23), (0, 0)])
        {
            using var part = new State(device, whole);
            part.Forward(query, key.Slice(1, start, length), value.Slice(1, start, length));
            KernelEngine.Attention.Merge(merged.Output, merged.Lse, part.Output, part.Lse);
        }
        Assert.That(merged.Output.ToArray<float>(), Is.EqualTo(expected.Output.ToArray<float>()).Within(Rounding));
        Assert.That(merged.Lse.ToArray<float>(), Is.EqualTo(expected.Lse.ToArray<float>()).Within(Rounding));
    }

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void APartThatSawNoKeyIsNotRead(string deviceName)
    {
        const float None = float.NegativeInfinity, Poison = float.NaN;
        Device device = TestDevices.Get(deviceName);
        // Four heads: the other part empty, this part empty, both empty, the other part too light to count.
        using Tensor output = Tensor.From<float>(device, [1, 2, 3, Poison, Poison, Poison, Poison, Poison, Poison, 4, 5, 6], 1, 1, 4, 3);
        using Tensor lse = Tensor.From<float>(device, [0.5f, None, None, 600], 1, 4, 1);
        using Tensor other = Tensor.From<float>(device, [Poison, Poison, Poison, 7, 8, 9, Poison, Poison, Poison, Poison, Poison, Poison], 1, 1, 4, 3);
        using Tensor otherLse = Tensor.From<float>(device, [None, -0.5f, None, -600], 1, 4, 1);
        KernelEngine.Attention.Merge(output, lse, other, otherLse);
        Assert.That(output.ToArray<float>(), Is.EqualTo((float[])[1, 2, 3, 7, 8, 9, 0, 0, 0, 4, 5, 6]));
        Assert.That(lse.ToArray<float>(), Is.EqualTo((float[])[0.5f, -0.5f, None, 600]));
    }

    [Test]
    public void OperandsThatDoNotFitAreRefused()
    {
        Device device = TestDevices.Get("cpu");
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 2, 3, 4, 8), lse = Tensor.Allocate(device, DataType.Float32, 2, 4, 3);
        using Tensor shorter = Tensor.Allocate(device, DataType.Float32, 2, 2, 4, 8), integers = Tensor.Allocate(device, DataType.Int32, 2, 3, 4, 8);
        Refuses(() => KernelEngine.Attention.Merge(output, lse, shorter, lse), "otherOutput must have shape [batchSize=2, queryLength=3, numHeads=4, valueHeadDim=8]");
        Refuses(() => KernelEngine.Attention.Merge(output, lse, integers, lse), "not i32");
        Refuses(() => KernelEngine.Attention.Merge(output, lse, output, lse), "output must not overlap otherOutput");
        Refuses(() => KernelEngine.Attention.Merge(output, default, shorter, lse), "lse is missing");

        static void Refuses(Action call, string message) => Assert.That(Assert.Catch<ArgumentException>(() => call())!.Message, Does.Contain(message));
    }

    private sealed class State(Device device, AttentionProblem problem) : IDisposable
    {
        public Tensor Output { get; } = RandomTensors.Create(device, problem.GetOperand(AttentionProblem.Output), 0);

        public Tensor Lse { get; } = RandomTensors.Create(device, problem.GetOperand(AttentionProblem.Lse), 0);

        public void Forward(TensorView query, TensorView key, TensorView value) => KernelEngine.Attention.Forward(query, key, value, Output, null, Lse);

        public void Dispose()
        {
            Output.Dispose();
            Lse.Dispose();
        }
    }
}
