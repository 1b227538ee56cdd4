namespace KernelEngine.Tests.Layers;

/// <summary>Bad arguments are refused before anything is written, and calls in steady state allocate nothing.</summary>
public sealed class LayerArgumentTests
{
    private static Device Device => TestDevices.Get("cpu");

    private static IEnumerable<Kernel<EmbeddingProblem>> EmbeddingKernels => HostKernels.Of(KernelEngine.Layers.EmbeddingOperation);

    [TestCase(-1)]
    [TestCase(3)]
    [TestCase(int.MinValue)]
    [TestCase(int.MaxValue)]
    public void ATokenOutsideTheTableIsRefused(int id)
    {
        using Tensor tokens = Tensor.From<int>(Device, [0, id], 2);
        using Tensor table = Ones(3, 4), output = Ones(2, 4);
        Assert.That(() => KernelEngine.Layers.Embedding(tokens, table, output),
            Throws.ArgumentException.With.Message.Contains($"tokens[1] is {id}").And.Property("ParamName").EqualTo("tokens"));
        Assert.That(output.ToArray<float>(), Is.All.EqualTo(1));
    }

    [TestCaseSource(nameof(EmbeddingKernels))]
    public void KernelsReadTheNearestRowForATokenOutsideTheTable(Kernel<EmbeddingProblem> kernel)
    {
        Device device = HostKernels.DeviceOf(kernel);
        using Tensor tokens = Tensor.From<int>(device, [-1, int.MinValue, 2, 3, int.MaxValue], 5);
        using Tensor table = Tensor.From<float>(device, [10, 11, 20, 21, 30, 31], 3, 2);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 5, 2);
        device.Run(KernelEngine.Layers.EmbeddingOperation, new EmbeddingProblem(5, 3, 2), [tokens, table, output], kernel);
        Assert.That(output.ToArray<float>(), Is.EqualTo((float[])[10, 11, 10, 11, 30, 31, 30, 31, 30, 31]));
    }

    [Test]
    public void PositionsBeyondTheTablesAreRefused()
    {
        using Tensor values = Ones(2, 1, 4), cos = Ones(5, 2), sin = Ones(5, 2);
        Assert.That(() => KernelEngine.Layers.Rotary(values, cos, sin, 4), Throws.ArgumentException.With.Message.Contains("maxPosition=5"));
        Assert.That(() => KernelEngine.Layers.Rotary(values, cos, sin, -1), Throws.ArgumentException);
        Assert.That(() => KernelEngine.Layers.Rotary(values, cos, sin, int.MaxValue), Throws.ArgumentException);
        Assert.That(values.ToArray<float>(), Is.All.EqualTo(1));
        KernelEngine.Layers.Rotary(values, cos, sin, 3);
        Assert.That(values.ToArray<float>(), Is.EqualTo((float[])[0, 0, 2, 2, 0, 0, 2, 2]));
    }

    [Test]
    public void TablesWiderThanAHeadAreRefused()
    {
        using Tensor values = Ones(1, 1, 4), cos = Ones(5, 3), sin = Ones(5, 3);
        Assert.That(() => KernelEngine.Layers.Rotary(values, cos, sin, 0), Throws.ArgumentException.With.Message.Contains("headDim=4"));
    }

    [TestCase(1f)]
    [TestCase(-0.1f)]
    [TestCase(float.NaN)]
    public void AUniformNumberOutOfRangeIsRefused(float uniform)
    {
        using Tensor logits = Ones(2, 4), uniforms = Tensor.From<float>(Device, [0, uniform], 2);
        using Tensor indices = Tensor.From<int>(Device, [7, 7], 2);
        Assert.That(() => KernelEngine.Layers.Sample(logits, uniforms, indices), Throws.ArgumentException.With.Message.Contains("uniforms[1]"));
        Assert.That(indices.ToArray<int>(), Is.All.EqualTo(7));
    }

    [Test]
    public void SamplingOptionsOutOfRangeAreRefused()
    {
        using Tensor logits = Ones(1, 4), uniforms = Tensor.From<float>(Device, [0.5f], 1), indices = Tensor.From<int>(Device, [7], 1);
        foreach (SamplingOptions options in (SamplingOptions[])
            [
                new() { Temperature = -1 }, new() { Temperature = float.NaN }, new() { Temperature = float.PositiveInfinity }, new() { TopK = -1 },
                new() { TopP = 1.1f }, new() { TopP = float.NaN }, new() { MinP = -0.1f }, new() { MinP = 2 },
            ])
        {
            Assert.That(() => KernelEngine.Layers.Sample(logits, uniforms, indices, options), Throws.ArgumentException, options.ToString());
        }
        Assert.That(indices.ToArray<int>(), Is.All.EqualTo(7));
    }

    [Test]
    public void GreedySamplingNeedsNoUniformNumbers()
    {
        using Tensor logits = Tensor.From<float>(Device, [1, 3, 2], 1, 3), indices = Tensor.Allocate(Device, DataType.Int32, 1);
        KernelEngine.Layers.Sample(logits, default, indices, SamplingOptions.Greedy);
        Assert.That(indices.ToArray<int>(), Is.EqualTo((int[])[1]));
        Assert.That(() => KernelEngine.Layers.Sample(logits, default, indices), Throws.ArgumentException.With.Message.Contains("uniforms is missing"));
    }

    [Test]
    public void ShapesThatDoNotFitAreRefused()
    {
        using Tensor input = Ones(2, 4), output = Ones(2, 4), narrow = Ones(3), vector = Ones(4);
        Assert.That(() => KernelEngine.Layers.RmsNorm(input, narrow, output), Throws.ArgumentException.With.Property("ParamName").EqualTo("weight"));
        Assert.That(() => KernelEngine.Layers.RmsNorm(input, vector, output, -1), Throws.ArgumentException.With.Message.Contains("epsilon"));
        Assert.That(() => KernelEngine.Layers.RmsNorm(input, vector, input), Throws.ArgumentException.With.Message.Contains("overlap"));
        Assert.That(() => KernelEngine.Layers.SwiGlu(input, vector, output), Throws.ArgumentException.With.Property("ParamName").EqualTo("up"));
        Assert.That(() => KernelEngine.Layers.ResidualAdd(vector, input), Throws.ArgumentException.With.Property("ParamName").EqualTo("residual"));
        Assert.That(() => KernelEngine.Layers.ArgMax(input, vector), Throws.ArgumentException.With.Property("ParamName").EqualTo("indices"));
        Assert.That(output.ToArray<float>(), Is.All.EqualTo(1));
    }

    [Test]
    public void NothingIsAllocatedInSteadyState()
    {
        using Tensor input = Ones(40, 512), other = Ones(40, 512), output = Ones(40, 512), weight = Ones(512), table = Ones(9, 512);
        using Tensor cos = Ones(40, 32), sin = Ones(40, 32), uniforms = Tensor.Allocate(Device, DataType.Float32, 40);
        using Tensor indices = Tensor.Allocate(Device, DataType.Int32, 40), tokens = Tensor.Allocate(Device, DataType.Int32, 40);
        TensorView heads = output.View.Reshape(40, 8, 64);
        var options = new SamplingOptions { TopK = 20, TopP = 0.9f, MinP = 0.01f };
        (string Name, Action Call)[] calls =
        [
            ("arg-max", () => KernelEngine.Layers.ArgMax(input, indices)),
            ("sample", () => KernelEngine.Layers.Sample(input, uniforms, indices, options)),
            ("embedding", () => KernelEngine.Layers.Embedding(tokens, table, output)),
            ("rms-norm", () => KernelEngine.Layers.RmsNorm(input, weight, output)),
            ("rotary", () => KernelEngine.Layers.Rotary(heads, cos, sin, 0, isInterleaved: true)),
            ("swiglu", () => KernelEngine.Layers.SwiGlu(input, other, output)),
            ("residual-add", () => KernelEngine.Layers.ResidualAdd(input, output)),
        ];
        foreach ((string name, Action call) in calls)
        {
            for (int i = 0; i < 50; i++)
                call();
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 10; i++)
                call();
            Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero, name);
        }
    }

    private static Tensor Ones(params long[] lengths) =>
        Tensor.From<float>(Device, [.. Enumerable.Repeat(1f, (int)TensorLayout.Contiguous(lengths).Count)], lengths);
}
