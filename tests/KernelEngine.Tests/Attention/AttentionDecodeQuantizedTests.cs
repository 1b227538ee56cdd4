using KernelEngine.Tests.Cases;
using KernelEngine.Tests.KvCache;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionDecodeQuantizedTests : OperationTests<AttentionDecodeQuantizedCases, AttentionDecodeQuantizedProblem>
{
    [TestCase("cpu", 2)]
    [TestCase("cpu", 4)]
    [TestCase("cpu", 8)]
    [TestCase("opencl", 4, Category = "OpenCL")]
    [TestCase("simulator", 4, Category = "Simulator")]
    public void MergedWithAResidualItIsAttentionOverWhatTheCodesStandFor(string deviceName, int bits)
    {
        const int Heads = 6, KvHeads = 2, PageSize = 8, Pages = 3, Residual = 5, HeadDim = 48, ValueHeadDim = 40;
        const int Old = Pages * PageSize, All = Old + Residual, Pool = KvHeads * Pages;
        Device device = TestDevices.Get(deviceName);
        using Tensor key = Random(device, 1, Pool, PageSize, 1, HeadDim), value = Random(device, 2, Pool, PageSize, 1, ValueHeadDim);
        using Tensor newKey = Random(device, 3, 1, Residual, KvHeads, HeadDim), newValue = Random(device, 4, 1, Residual, KvHeads, ValueHeadDim);
        using Tensor query = Random(device, 5, 1, 1, Heads, HeadDim);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, 1, Heads, ValueHeadDim), lse = Tensor.Allocate(device, DataType.Float32, 1, Heads, 1);
        using Tensor newOutput = Tensor.Allocate(device, DataType.Float32, 1, 1, Heads, ValueHeadDim), newLse = Tensor.Allocate(device, DataType.Float32, 1, Heads, 1);
        using Tensor pages = Tensor.From<int>(device, [.. Enumerable.Range(0, Pool)], Pool), reversed = Tensor.From<int>(device, [.. Enumerable.Range(0, Pool).Reverse()], Pool);
        using Tensor lengths = Tensor.From<int>(device, [Old, Old], 1, KvHeads);
        using var pools = new TestCodes(device, Pool, PageSize, HeadDim, ValueHeadDim, bits);
        KvCells.Quantize(key, value, pools.Codes, pages, reversed);
        KvCells.Dequantize(key, value, pools.Codes, reversed, pages);
        KernelEngine.Attention.DecodeQuantized(query, pools.Codes, reversed.View.Reshape(1, KvHeads, Pages), lengths, output, lse);
        KernelEngine.Attention.Decode(query, newKey, newValue, newOutput, lse: newLse);
        KernelEngine.Attention.Merge(output, lse, newOutput, newLse);

        // The plain computation in double precision.
        float[] k = key.ToArray<float>(), v = value.ToArray<float>(), q = query.ToArray<float>(), k1 = newKey.ToArray<float>(), v1 = newValue.ToArray<float>();
        for (int h = 0; h < Heads; h++)
        {
            int kvHead = h / (Heads / KvHeads);
            double[] scores = [.. Enumerable.Range(0, All).Select(j => Enumerable.Range(0, HeadDim).Sum(c =>
                (double)q[h * HeadDim + c] * (j < Old ? k[(kvHead * Old + j) * HeadDim + c] : k1[((j - Old) * KvHeads + kvHead) * HeadDim + c])) / Math.Sqrt(HeadDim))];
            double total = scores.Sum(Math.Exp);
            Assert.That(lse.ToArray<float>()[h], Is.EqualTo(Math.Log(total)).Within(1e-5));
            for (int c = 0; c < ValueHeadDim; c++)
            {
                double expected = Enumerable.Range(0, All).Sum(j => Math.Exp(scores[j]) / total
                    * (j < Old ? v[(kvHead * Old + j) * ValueHeadDim + c] : v1[((j - Old) * KvHeads + kvHead) * ValueHeadDim + c]));
                Assert.That(output.ToArray<float>()[h * ValueHeadDim + c], Is.EqualTo(expected).Within(1e-5), $"head {h}, column {c}");
            }
        }
    }

    [TestCase(5, 0, "kvLengths[0, 0] must be 0 to kvLength=4 but is 5.")]
    [TestCase(3, 2, "pageTable[0, 0, 1] must be 0 to 1 but is 2.")]
    public void KeysThatAreNotThereAreRefused(int length, int page, string message)
    {
        Device device = TestDevices.Get("cpu");
        using Tensor query = Random(device, 1, 1, 1, 1, 8), output = Random(device, 2, 1, 1, 1, 8), lse = Tensor.Allocate(device, DataType.Float32, 1, 1, 1);
        using Tensor lengths = Tensor.From<int>(device, [length], 1, 1), table = Tensor.From<int>(device, [0, page], 1, 1, 2);
        using var pools = new TestCodes(device, 2, 2, 8, 8, 4);
        Assert.That(
            () => KernelEngine.Attention.DecodeQuantized(query, pools.Codes, table, lengths, output, lse), Throws.ArgumentException.With.Message.StartsWith(message));
    }

    [Test]
    public void FourBitsMoveAThirdOfTheBytesOfBFloat16AtTheMost()
    {
        var codes = ProblemText.Parse<AttentionDecodeQuantizedProblem>("h=32 kv=8 q=1 k=32768 page=32 pool=8192 d=128 bits=4 bf16");
        var full = ProblemText.Parse<AttentionProblem>("h=32 kv=8 q=1 k=32768 d=128 bf16");
        Assert.That(codes.Bytes / full.Bytes, Is.InRange(0.25, 1.0 / 3));
    }

    private static Tensor Random(Device device, int seed, params long[] shape) => RandomTensors.Create(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(shape), ""), seed);
}
