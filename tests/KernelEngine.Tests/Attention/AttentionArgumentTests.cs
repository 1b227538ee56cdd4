namespace KernelEngine.Tests.Attention;

/// <summary>Arguments that do not fit one another: the message names both sides, and nothing is written.</summary>
public sealed class AttentionArgumentTests
{
    private static readonly long[] s_query = [2, 3, 4, 8], s_key = [2, 5, 2, 8], s_value = [2, 5, 2, 6], s_output = [2, 3, 4, 6], s_lse = [2, 4, 3];

    private static IEnumerable<TestCaseData> WrongShapes()
    {
        yield return Case("key", [2, 5, 2, 7], "key must have shape [batchSize=2, kvLength=5, numKvHeads=2, headDim=8] but has [2, 5, 2, 7]");
        yield return Case("key", [1, 5, 2, 8], "key must have shape [batchSize=2, kvLength=5, numKvHeads=2, headDim=8] but has [1, 5, 2, 8]");
        yield return Case("key", [5, 2, 8], "key must have 4 dimensions but has shape [5, 2, 8]");
        yield return Case("key", [2, 5, 3, 8], "numHeads must be a multiple of numKvHeads but 4 is no multiple of 3");
        yield return Case("value", [2, 4, 2, 6], "value must have shape [batchSize=2, kvLength=5, numKvHeads=2, valueHeadDim=6] but has [2, 4, 2, 6]");
        yield return Case("value", [2, 5, 4, 6], "value must have shape [batchSize=2, kvLength=5, numKvHeads=2, valueHeadDim=6] but has [2, 5, 4, 6]");
        yield return Case("value", [2, 5, 2, 257], "valueHeadDim must be 1 to 256 but is 257");
        yield return Case("output", [2, 3, 4, 8], "output must have shape [batchSize=2, queryLength=3, numHeads=4, valueHeadDim=6] but has [2, 3, 4, 8]");
        yield return Case("output", [6, 4, 6], "output must have shape [batchSize=2, queryLength=3, numHeads=4, valueHeadDim=6] but has [6, 4, 6]");
        yield return Case("lse", [2, 3, 4], "lse must have shape [batchSize=2, numHeads=4, queryLength=3] but has [2, 3, 4]");

        static TestCaseData Case(string name, long[] shape, string message) =>
            new TestCaseData(name, shape, message).SetArgDisplayNames(name, string.Join(" ", shape));
    }

    [TestCaseSource(nameof(WrongShapes))]
    public void AWrongShapeIsRefused(string name, long[] shape, string message)
    {
        using var tensors = new Operands();
        Refuses<ArgumentException>(tensors, () => tensors.Replace(name, Tensor.Allocate(tensors.Device, DataType.Float32, shape)), message);
    }

    [TestCase("value", DataType.Float16, "value must hold f32 but holds f16")]
    [TestCase("output", DataType.BFloat16, "output must hold f32 but holds bf16")]
    [TestCase("lse", DataType.Float16, "lse must hold f32 but holds f16")]
    [TestCase("query", DataType.Int32, "Attention takes f32, f16 or bf16 tensors, not i32")]
    public void AWrongTypeIsRefused(string name, DataType type, string message)
    {
        using var tensors = new Operands();
        Refuses<ArgumentException>(tensors, () => tensors.Replace(name, Tensor.Allocate(tensors.Device, type, Operands.ShapeOf(name))), message);
    }

    [Test]
    public void ATensorOfAnotherDeviceIsRefused()
    {
        using var tensors = new Operands();
        Device other = TestDevices.Get("reference");
        Refuses<ArgumentException>(
            tensors, () => tensors.Replace("value", Tensor.Allocate(other, DataType.Float32, s_value)),
            "value must be on device 'cpu' but is on 'reference'");
    }

    [Test]
    public void AMissingTensorIsRefused()
    {
        using var tensors = new Operands();
        Refuses<ArgumentException>(tensors, () => tensors.Set("value", default), "value is missing");
        Refuses<ArgumentException>(tensors, () => tensors.Set("key", default), "key is missing");
    }

    [Test]
    public void AGapInTheLastDimensionIsRefused()
    {
        using var tensors = new Operands();
        using Tensor storage = Tensor.Allocate(tensors.Device, DataType.Float32, 2, 5, 8, 2);
        Refuses<ArgumentException>(
            tensors, () => tensors.Set("key", storage.View.Transpose(2, 3)), "key must have neighbouring elements in its last dimension but has stride 2");
    }

    [Test]
    public void AnOutputThatOverlapsAnOperandIsRefused()
    {
        using var tensors = new Operands();
        using Tensor storage = Tensor.Allocate(tensors.Device, DataType.Float32, 4, 3, 4, 6);
        Refuses<ArgumentException>(
            tensors,
            () =>
            {
                tensors.Set("output", storage.Slice(0, 0, 2));
                tensors.Set("value", new TensorView(storage.View.Storage!, 4, DataType.Float32, TensorLayout.Contiguous(s_value)));
            },
            "output must not overlap value");
    }

    [Test]
    public void ADisposedTensorIsRefused()
    {
        using var tensors = new Operands();
        Tensor disposed = Tensor.Allocate(tensors.Device, DataType.Float32, s_value);
        disposed.Dispose();
        Refuses<ObjectDisposedException>(tensors, () => tensors.Set("value", disposed.View), "disposed");
    }

    [TestCase(float.NaN)]
    [TestCase(float.PositiveInfinity)]
    public void AScaleThatIsNoNumberIsRefused(float scale)
    {
        using var tensors = new Operands();
        tensors.Options = new AttentionOptions { SoftmaxScale = scale };
        Refuses<ArgumentException>(tensors, () => { }, "softmaxScale must be finite");
    }

    [Test]
    public void GoodArgumentsAreTaken()
    {
        using var tensors = new Operands();
        tensors.Forward();
        Assert.That(tensors.AreOutputsUntouched, Is.False);
    }

    private static void Refuses<TException>(Operands tensors, Action spoil, string message) where TException : Exception
    {
        spoil();
        foreach (Action call in (Action[])[tensors.Forward, tensors.Decode])
        {
            TException e = Assert.Catch<TException>(call)!;
            Assert.That(e.Message, Does.Contain(message));
            Assert.That(tensors.AreOutputsUntouched);
        }
    }

    /// <summary>Operands that fit one another, until a test replaces one.</summary>
    private sealed class Operands : IDisposable
    {
        private const float Canary = -77;

        private readonly Dictionary<string, TensorView> _views = [];
        private readonly List<Tensor> _owned = [];
        private readonly Tensor _output, _lse;

        public Operands()
        {
            foreach (string name in (string[])["query", "key", "value", "output", "lse"])
                Replace(name, Tensor.Allocate(Device, DataType.Float32, ShapeOf(name)));
            (_output, _lse) = (_owned[3], _owned[4]);
            _output.CopyFrom<float>(Enumerable.Repeat(Canary, (int)_output.Layout.Count).ToArray());
            _lse.CopyFrom<float>(Enumerable.Repeat(Canary, (int)_lse.Layout.Count).ToArray());
        }

        public Device Device { get; } = TestDevices.Get("cpu");

        public AttentionOptions? Options { get; set; }

        public bool AreOutputsUntouched => _output.ToArray<float>().Concat(_lse.ToArray<float>()).All(x => x == Canary);

        public static long[] ShapeOf(string name) => name switch
        {
            "query" => s_query,
            "key" => s_key,
            "value" => s_value,
            "output" => s_output,
            _ => s_lse,
        };

        public void Replace(string name, Tensor tensor)
        {
            _owned.Add(tensor);
            Set(name, tensor.View);
        }

        public void Set(string name, TensorView view) => _views[name] = view;

        public void Forward() => KernelEngine.Attention.Forward(
            _views["query"], _views["key"], _views["value"], _views["output"], Options, _views["lse"]);

        public void Decode() => KernelEngine.Attention.Decode(
            _views["query"], _views["key"], _views["value"], _views["output"], Options, _views["lse"]);

        public void Dispose() => _owned.ForEach(t => t.Dispose());
    }
}
