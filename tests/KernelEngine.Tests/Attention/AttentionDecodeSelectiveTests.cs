using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionDecodeSelectiveTests : OperationTests<AttentionDecodeSelectiveCases, AttentionDecodeSelectiveProblem>
{
    private const int Heads = 4, KvHeads = 2, Slots = 96, HeadDim = 24, PageSize = 8;

    [TestCase("cpu", 1)]
    [TestCase("cpu", 10)]
    [TestCase("cpu", Slots)]
    [TestCase("opencl", 10, Category = "OpenCL")]
    [TestCase("opencl", Slots, Category = "OpenCL")]
    public void ItIsDecodingUpToTheMassThatIsLeftOut(string deviceName, int keepCount)
    {
        Device device = TestDevices.Get(deviceName);
        using Tensor query = Random(device, 1, 1, 1, Heads, HeadDim), key = Random(device, 2, 24, PageSize, 1, HeadDim);
        using Tensor value = Random(device, 3, 24, PageSize, 1, HeadDim), lengths = Tensor.From<int>(device, [90, 51], KvHeads);
        using Tensor table = Tensor.From<int>(device, [.. Enumerable.Range(0, 24).Select(i => i * 7 % 24)], KvHeads, Slots / PageSize);
        using Tensor whole = Tensor.Allocate(device, DataType.Float32, 1, 1, Heads, HeadDim),
            wholeLse = Tensor.Allocate(device, DataType.Float32, 1, Heads, 1);
        using Tensor few = Tensor.Allocate(device, DataType.Float32, Heads, HeadDim),
            lse = Tensor.Allocate(device, DataType.Float32, Heads);
        using Tensor weights = Tensor.Allocate(device, DataType.Float32, 1, Heads, 1, Slots);
        var inputs = new AttentionInputs
        {
            PageTable = table.View.Reshape(1, KvHeads, Slots / PageSize),
            KvLengths = lengths.View.Reshape(1, KvHeads),
        };
        KernelEngine.Attention.Forward(query, key, value, whole, AttentionOptions.Default, wholeLse, inputs);
        KernelEngine.Attention.Weights(query, key, wholeLse, weights, default, AttentionOptions.Default, inputs);
        KernelEngine.Attention.DecodeSelective(query.View.Reshape(Heads, HeadDim), key, value, table, lengths, few, keepCount, lse);

        Assert.That(lse.ToArray<float>(), Is.EqualTo(wholeLse.ToArray<float>()).Within(1e-5f));
        float[] expected = whole.ToArray<float>(), actual = few.ToArray<float>(), all = weights.ToArray<float>(),
        values = value.ToArray<float>();
        double longest = values.Chunk(HeadDim).Max(row => Math.Sqrt(row.Sum(x => (double)x * x)));
        for (int h = 0; h < Heads; h++)
        {
            // Each head keeps its own largest weights at least; what the other head of the group keeps only adds to them.
            double left = 1 - all.Skip(h * Slots).Take(Slots).OrderDescending().Take(keepCount).Sum(x => (double)x);
            double error = Math.Sqrt(Enumerable.Range(0, HeadDim).Sum(i =>
                Math.Pow(expected[h * HeadDim + i] - actual[h * HeadDim + i], 2)));
            Assert.That(error, Is.LessThanOrEqualTo(left * longest + 1e-5), $"head {h}");
            if (keepCount < 50)
                Assert.That(error, Is.GreaterThan(1e-4), $"head {h} leaves something out");
        }
    }

    [TestCase("cpu")]
    [TestCase("reference")]
    [TestCase("simulator", Category = "Simulator")]
    [TestCase("opencl", Category = "OpenCL")]
    public void TheHeadsOfAGroupShareWhatTheyKeep(string deviceName)
    {
        // Four slots; the first head looks at slot 1, the second one at slots 0 and 3 alike, of which it keeps the later.
        Device device = TestDevices.Get(deviceName);
        using Tensor query = Tensor.From<float>(device, [MathF.Log(4), 0, 0, MathF.Log(2)], 2, 2),
            key = Tensor.From<float>(device, [0, 1, 1, 0, 0, 0, 0, 1], 1, 4, 1, 2);
        using Tensor value = Tensor.From<float>(device, [1000, 10, 100, 1], 1, 4, 1, 1), table = Tensor.From<int>(device, [0], 1, 1);
        using Tensor lengths = Tensor.From<int>(device, [4], 1), output = Tensor.Allocate(device, DataType.Float32, 2, 1),
            lse = Tensor.Allocate(device, DataType.Float32, 2);
        KernelEngine.Attention.DecodeSelective(query, key, value, table, lengths, output, 1, lse, 1f);
        Assert.That(output.ToArray<float>(), Is.EqualTo((float[])[(4 * 10 + 1) / 7f, (10 + 2 * 1) / 6f]).Within(1e-5f));
        Assert.That(lse.ToArray<float>(), Is.EqualTo((float[])[MathF.Log(7), MathF.Log(6)]).Within(1e-6f));
        KernelEngine.Attention.DecodeSelective(query, key, value, table, lengths, output, 1, default, 1f, renormalises: true);
        Assert.That(output.ToArray<float>(), Is.EqualTo((float[])[(4 * 10 + 1) / 5f, (10 + 2 * 1) / 3f]).Within(1e-5f));
    }

    [Test]
    public void ItsNameDoesNotHideThatOfDecoding()
    {
        Assert.That(OperationList.FindAll("attention-decode"), Is.EqualTo((Operation[])[KernelEngine.Attention.DecodeOperation]));
        Assert.That(OperationList.FindAll("attention"), Does.Contain(KernelEngine.Attention.DecodeSelectiveOperation));
    }

    private static Tensor Random(Device device, int seed, params long[] shape) => RandomTensors.Create(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(shape), ""), seed);
}
