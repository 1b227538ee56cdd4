using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionAppendTests : OperationTests<AttentionAppendCases, AttentionAppendProblem>
{
    [TestCase("cpu", false)]
    [TestCase("cpu", true)]
    [TestCase("opencl", false, Category = "OpenCL")]
    [TestCase("simulator", true, Category = "Simulator")]
    public void AppendingIsRotaryAndACopy(string deviceName, bool isInterleaved)
    {
        const int Start = 5, Tokens = 3, Capacity = 12, KvHeads = 2, Heads = 4, HeadDim = 20, RotaryDim = 16;
        Device device = TestDevices.Get(deviceName);
        RotaryTables tables = RotaryTables.Create(Capacity, RotaryDim, 10_000);
        using Tensor cos = Tensor.From<float>(device, tables.Cos, Capacity, RotaryDim / 2), sin = Tensor.From<float>(device, tables.Sin, Capacity, RotaryDim / 2);
        using Tensor key = Random(device, 1, Tokens, KvHeads, HeadDim), value = Random(device, 2, Tokens, KvHeads, HeadDim);
        using Tensor query = Random(device, 3, Tokens, Heads, HeadDim), expectedQuery = Random(device, 3, Tokens, Heads, HeadDim);
        using Tensor keyCache = Random(device, 4, Capacity, KvHeads, HeadDim), valueCache = Random(device, 5, Capacity, KvHeads, HeadDim);
        using Tensor positions = Tensor.From<int>(device, [Start], 1);
        float[] expectedKeys = keyCache.ToArray<float>(), expectedValues = valueCache.ToArray<float>();
        KernelEngine.Attention.Append(
            key, value, keyCache, valueCache, positions, new AttentionAppendInputs { Query = query, Cos = cos, Sin = sin }, isInterleaved);

        value.ToArray<float>().CopyTo(expectedValues, Start * KvHeads * HeadDim);
        KernelEngine.Layers.Rotary(key.View.Reshape(Tokens, KvHeads, HeadDim), cos, sin, Start, isInterleaved);
        KernelEngine.Layers.Rotary(expectedQuery.View.Reshape(Tokens, Heads, HeadDim), cos, sin, Start, isInterleaved);
        key.ToArray<float>().CopyTo(expectedKeys, Start * KvHeads * HeadDim);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(keyCache.ToArray<float>(), Is.EqualTo(expectedKeys).Within(1e-6));
            Assert.That(valueCache.ToArray<float>(), Is.EqualTo(expectedValues));
            Assert.That(query.ToArray<float>(), Is.EqualTo(expectedQuery.ToArray<float>()).Within(1e-6));
        }
    }

    [Test]
    public void QuantisedRowsReadBackWithinHalfAStep()
    {
        const int KvHeads = 2, HeadDim = 37, Capacity = 4;
        Device device = TestDevices.Get("cpu");
        using Tensor key = Random(device, 1, 1, KvHeads, HeadDim);
        using Tensor value = Tensor.Allocate(device, DataType.Float32, 1, 1, KvHeads, HeadDim); // zeros
        using Tensor keyCache = Tensor.Allocate(device, DataType.Int8, 1, Capacity, KvHeads, HeadDim), keyScale = Tensor.Allocate(device, DataType.Float32, 1, KvHeads, Capacity);
        using Tensor valueCache = Tensor.Allocate(device, DataType.Int8, 1, Capacity, KvHeads, HeadDim), valueScale = Tensor.Allocate(device, DataType.Float32, 1, KvHeads, Capacity);
        using Tensor positions = Tensor.From<int>(device, [2], 1);
        KernelEngine.Attention.Append(key, value, keyCache, valueCache, positions, new AttentionAppendInputs { KeyScale = keyScale, ValueScale = valueScale });
        float[] expected = key.ToArray<float>(), scales = keyScale.ToArray<float>();
        sbyte[] stored = keyCache.ToArray<sbyte>();
        for (int h = 0; h < KvHeads; h++)
        {
            float scale = scales[h * Capacity + 2];
            float[] row = expected[(h * HeadDim)..((h + 1) * HeadDim)];
            Assert.That(scale, Is.EqualTo(row.Max(Math.Abs) / 127).Within(1e-7));
            for (int c = 0; c < HeadDim; c++)
                Assert.That(stored[(2 * KvHeads + h) * HeadDim + c] * scale, Is.EqualTo(row[c]).Within(0.5001 * scale));
        }
        Assert.That(valueCache.ToArray<sbyte>(), Has.All.Zero);
        Assert.That(valueScale.ToArray<float>(), Has.All.Zero);
    }

    [Test]
    public void AppendingOneTokenAllocatesNothing()
    {
        Device device = TestDevices.Get("cpu");
        using Tensor key = Random(device, 1, 1, 2, 64), value = Random(device, 2, 1, 2, 64), query = Random(device, 3, 1, 8, 64);
        using Tensor keyCache = Random(device, 4, 16, 2, 64), valueCache = Random(device, 5, 16, 2, 64), positions = Tensor.From<int>(device, [3], 1);
        RotaryTables tables = RotaryTables.Create(16, 64, 10_000);
        using Tensor cos = Tensor.From<float>(device, tables.Cos, 16, 32), sin = Tensor.From<float>(device, tables.Sin, 16, 32);
        var inputs = new AttentionAppendInputs { Query = query, Cos = cos, Sin = sin };
        KernelEngine.Attention.Append(key, value, keyCache, valueCache, positions, inputs);
        long before = GC.GetAllocatedBytesForCurrentThread();
        KernelEngine.Attention.Append(key, value, keyCache, valueCache, positions, inputs);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    private static Tensor Random(Device device, int seed, int tokens, int heads, int headDim) => RandomTensors.Create(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(1, tokens, heads, headDim), ""), seed);
}
