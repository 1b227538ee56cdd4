using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheRotateTests : OperationTests<KvCacheRotateCases, KvCacheRotateProblem>
{
    [TestCase(false)]
    [TestCase(true)]
    public void TurningKeysOnIsAppendingThemLater(bool isInterleaved)
    {
        const int Tokens = 6, HeadDim = 24, RotaryDim = 16, Later = 9;
        Device device = TestDevices.Get("cpu");
        RotaryTables tables = RotaryTables.Create(Tokens + Later, RotaryDim, 10_000);
        using Tensor cos = Tensor.From<float>(device, tables.Cos, Tokens + Later, RotaryDim / 2), sin = Tensor.From<float>(device, tables.Sin, Tokens + Later, RotaryDim / 2);
        using Tensor key = RandomTensors.Create(
            device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(1, Tokens, 1, HeadDim), ""), 1);
        using Tensor early = Append(0), late = Append(Later);
        using Tensor pages = Tensor.From<int>(device, [0], 1, 1), lengths = Tensor.From<int>(device, [Tokens], 1);
        using Tensor forwards = Tensor.From<int>(device, [.. Enumerable.Repeat(Later, Tokens)], 1, Tokens);
        using Tensor backwards = Tensor.From<int>(device, [.. Enumerable.Repeat(-Later, Tokens)], 1, Tokens);
        float[] before = early.ToArray<float>();
        KvCells.Rotate(early, pages, lengths, forwards, cos, sin, isInterleaved);
        Assert.That(early.ToArray<float>(), Is.EqualTo(late.ToArray<float>()).Within(2e-6));
        KvCells.Rotate(early, pages, lengths, backwards, cos, sin, isInterleaved);
        Assert.That(early.ToArray<float>(), Is.EqualTo(before).Within(1e-6));

        Tensor Append(int position)
        {
            Tensor cache = Tensor.Allocate(device, DataType.Float32, 1, Tokens, 1, HeadDim);
            using Tensor values = Tensor.Allocate(device, DataType.Float32, 1, Tokens, 1, HeadDim), positions = Tensor.From<int>(device, [position], 1);
            using Tensor slots = Tensor.From<int>(device, [0], 1, 1);
            KernelEngine.Attention.Append(
                key, key, cache, values, positions, new AttentionAppendInputs { Cos = cos, Sin = sin, KvLengths = slots }, isInterleaved);
            return cache;
        }
    }
}
