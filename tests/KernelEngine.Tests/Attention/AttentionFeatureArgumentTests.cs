namespace KernelEngine.Tests.Attention;

/// <summary>Options and optional operands that do not fit: the message names the argument, and nothing is written.</summary>
public sealed class AttentionFeatureArgumentTests
{
    private const float Canary = -77;

    private static IEnumerable<TestCaseData> WrongOptions()
    {
        yield return Case(new() { LogitSoftCap = -1 }, "logitSoftCap must be 0 or positive but is -1");
        yield return Case(new() { LogitSoftCap = float.NaN }, "logitSoftCap");
        yield return Case(new() { LogitSoftCap = float.PositiveInfinity }, "logitSoftCap");
        yield return Case(new() { SoftmaxScale = float.NaN }, "softmaxScale must be finite");
        yield return Case(new() { WindowLeft = -2 }, "A window is");
        yield return Case(new() { WindowRight = int.MinValue }, "A window is");
        yield return Case(new() { SinkCount = 3 }, "Sinks are keys that stay visible outside a window, and there is none");
        yield return Case(new() { WindowLeft = 3, SinkCount = -1 }, "must not be negative");
        yield return Case(new() { ChunkSize = -1 }, "must not be negative");

        static TestCaseData Case(AttentionOptions options, string message) => new TestCaseData(options, message).SetArgDisplayNames(message);
    }

    private static IEnumerable<TestCaseData> WrongInputs()
    {
        // Integers that leave their bounds.
        yield return Integers("kvLengths", [5, 5, 5, 6], [2, 2], "kvLengths[1, 1] must be 0 to kvLength=5 but is 6");
        yield return Integers("kvLengths", [-1, 5, 5, 5], [2, 2], "kvLengths[0, 0] must be 0 to kvLength=5 but is -1");
        yield return Integers("headWindows", [-1, 0, -2, 0, 1, 1, 1, 1], [4, 2], "headWindows[1, 0] must be");
        yield return Integers("headWindows", [-1, 0, 0, 0, 1, 1, 1, int.MinValue], [4, 2], "headWindows[3, 1] must be");
        // Shapes and types.
        yield return Zeros("kvLengths", DataType.Int32, [2, 4], "kvLengths must have shape [batchSize=2, numKvHeads=2] but has [2, 4]");
        yield return Zeros("kvLengths", DataType.Float32, [2, 2], "kvLengths must hold i32 but holds f32");
        yield return Zeros("mask", DataType.Boolean, [2, 4, 3, 6], "mask must have shape [batchSize=2, numHeads=4, queryLength=3, kvLength=5] but has [2, 4, 3, 6]");
        yield return Zeros("mask", DataType.Boolean, [1, 2, 1, 5], "mask must have shape [batchSize=1, numHeads=4, queryLength=1, kvLength=5] but has [1, 2, 1, 5]");
        yield return Zeros("mask", DataType.Boolean, [3, 5], "Mask must have 4 dimensions but has shape [3, 5]");
        yield return Zeros("mask", DataType.Float32, [2, 4, 3, 5], "mask must hold bool but holds f32");
        yield return Zeros("bias", DataType.Float32, [2, 4, 2, 5], "bias must have shape");
        yield return Zeros("bias", DataType.Boolean, [2, 4, 3, 5], "a boolean one is a mask");
        yield return Zeros("alibiSlopes", DataType.Float32, [2, 2], "alibiSlopes must have shape [sequences=2, numHeads=4] but has [2, 2]");
        yield return Zeros("sinkLogits", DataType.Float32, [2], "sinkLogits must have shape [numHeads=4] but has [2]");
        yield return Zeros("sinkLogits", DataType.Float16, [4], "sinkLogits must hold f32 but holds f16");
        yield return Zeros("headGain", DataType.Float32, [2], "headGain must have shape [numHeads=4] but has [2]");
        yield return Zeros("headOffset", DataType.Float32, [4, 8], "headOffset must have shape [numHeads=4, valueHeadDim=6] but has [4, 8]");
        yield return Zeros("slotBias", DataType.Float32, [2, 2, 4], "slotBias must have shape [batchSize=2, numKvHeads=2, kvLength=5] but has [2, 2, 4]");
        // What the problem does not have, and what it misses.
        yield return Zeros("keyScale", DataType.Float32, [2, 2, 5], "keyScale is given but the problem has none");
        yield return Zeros("valueScale", DataType.Float32, [2, 2, 5], "valueScale is given but the problem has none");
        yield return Zeros("blockMask", DataType.Boolean, [2, 4, 1, 1], "blockMask is given but the problem has none");
        yield return Zeros("kvOffsets", DataType.Int32, [3], "kvOffsets is given but the problem has none");
        yield return Zeros("queryOffsets", DataType.Int32, [3], "Ragged sequences lie end to end in a batch of 1, not of 2");

        static TestCaseData Integers(string name, int[] values, long[] shape, string message) =>
            new TestCaseData(name, (Func<Device, Tensor>)(device => Tensor.From<int>(device, values, shape)), message).SetArgDisplayNames(name, message);

        static TestCaseData Zeros(string name, DataType type, long[] shape, string message) =>
            new TestCaseData(name, (Func<Device, Tensor>)(device => Tensor.Allocate(device, type, shape)), message).SetArgDisplayNames(name, message);
    }

    private static IEnumerable<TestCaseData> WrongOffsets()
    {
        yield return new TestCaseData((int[])[0, 2, 3], (int[])[0, 3, 4], "kvOffsets must end with 5, the rows there are, but ends with 4");
        yield return new TestCaseData((int[])[0, 2, 3], (int[])[0, 6, 5], "kvOffsets must begin with 0 and never fall but kvOffsets[2] is 5 after 6");
        yield return new TestCaseData((int[])[1, 2, 3], (int[])[0, 3, 5], "queryOffsets must begin with 0 and never fall but queryOffsets[0] is 1");
        yield return new TestCaseData((int[])[0, -1, 3], (int[])[0, 3, 5], "queryOffsets must begin with 0 and never fall but queryOffsets[1] is -1 after 0");
        yield return new TestCaseData((int[])[0, 2, 3], (int[])[0, 1, 2, 5], "kvOffsets must have shape [sequences + 1=3] but has [4]");
        yield return new TestCaseData((int[])[0, 2, 3], null, "kvOffsets is missing");
    }

    [TestCaseSource(nameof(WrongOptions))]
    public void AnOptionOutOfRangeIsRefused(AttentionOptions options, string message)
    {
        using var call = new Call();
        call.Refuses(options, default, message);
    }

    [TestCaseSource(nameof(WrongInputs))]
    public void AnInputThatDoesNotFitIsRefused(string name, Func<Device, Tensor> create, string message)
    {
        using var call = new Call();
        using Tensor tensor = create(call.Device);
        call.Refuses(null, With(name, tensor), message);
    }

    [TestCaseSource(nameof(WrongOffsets))]
    public void OffsetsThatDoNotCoverTheRowsAreRefused(int[] queryOffsets, int[]? kvOffsets, string message)
    {
        using var call = new Call(batchSize: 1);
        using Tensor query = Tensor.From<int>(call.Device, queryOffsets, queryOffsets.Length);
        using Tensor? key = kvOffsets is null ? null : Tensor.From<int>(call.Device, kvOffsets, kvOffsets.Length);
        call.Refuses(null, new AttentionInputs { QueryOffsets = query, KvOffsets = key?.View ?? default }, message);
    }

    [TestCase(4, "pageTable[0, 1, 1] must be 0 to 3 but is 4")]
    [TestCase(-1, "pageTable[0, 1, 1] must be 0 to 3 but is -1")]
    [TestCase(int.MaxValue, "pageTable[0, 1, 1] must be 0 to 3")]
    public void APageOutsideThePoolIsRefused(int page, string message)
    {
        using var call = new Call(paged: true);
        using Tensor table = Tensor.From<int>(call.Device, [0, 1, 2, page, 3, 0, 1, 2], 2, 2, 2);
        call.Refuses(null, new AttentionInputs { PageTable = table }, message);
    }

    [Test]
    public void APagePastALengthIsNotLookedAt()
    {
        using var call = new Call(paged: true);
        using Tensor table = Tensor.From<int>(call.Device, [0, 1, 2, 99, 3, 0, 1, 2], 2, 2, 2), lengths = Tensor.From<int>(call.Device, [5, 4, 0, 8], 2, 2);
        call.Forward(null, new AttentionInputs { PageTable = table, KvLengths = lengths });
        Assert.That(call.AreOutputsUntouched, Is.False);
    }

    [Test]
    public void OutputsThatOverlapAreRefused()
    {
        using var call = new Call();
        call.Lse = new TensorView(call.Output.Storage!, 0, DataType.Float32, TensorLayout.Contiguous(2, 4, 3));
        call.Refuses(null, default, "output must not overlap lse");
    }

    [TestCase("b=2147483647 h=2147483647 q=2147483647 k=1 d=1")]
    [TestCase("b=2147483647 h=1 q=2147483647 k=2147483647 d=256")]
    public void SizesBeyondAllMemoryAreRefused(string text)
    {
        using var call = new Call();
        var problem = ProblemText.Parse<AttentionProblem>(text);
        TensorView[] operands = [call.Query, call.Key, call.Value, call.Output, call.Lse];
        Assert.That(
            Assert.Catch<ArgumentException>(() => call.Device.Run(KernelEngine.Attention.ForwardOperation, problem, operands))!.Message,
            Does.Contain("does not fit 63-bit sizes").Or.Contain("must have shape"));
        Assert.That(call.AreOutputsUntouched);
    }

    [Test]
    public void APageTableOfTooManyKeysIsRefused()
    {
        using var call = new Call(paged: true);
        using Tensor one = Tensor.Allocate(call.Device, DataType.Int32, 1);
        TensorView table = new(one.View.Storage!, 0, DataType.Int32, new TensorLayout([2, 2, 1L << 40], [0, 0, 0]));
        call.Refuses(null, new AttentionInputs { PageTable = table }, "pageTable has room for");
    }

    [TestCase(6, "positions[0] must be 0 to 5, so that 3 new tokens fit capacity=8, but is 6")]
    [TestCase(-1, "positions[0] must be 0 to 5")]
    [TestCase(int.MaxValue, "positions[0] must be 0 to 5")]
    public void TokensThatDoNotFitTheCacheAreRefused(int position, string message)
    {
        Device device = TestDevices.Get("cpu");
        using Tensor rows = Filled(device, 1, 3, 2, 4), keys = Filled(device, 1, 8, 2, 4), values = Filled(device, 1, 8, 2, 4);
        using Tensor positions = Tensor.From<int>(device, [position], 1);
        Assert.That(
            Assert.Catch<ArgumentException>(() => KernelEngine.Attention.Append(rows, rows, keys, values, positions))!.Message, Does.Contain(message));
        Assert.That(keys.ToArray<float>().Concat(values.ToArray<float>()), Has.All.EqualTo(Canary));
    }

    [Test]
    public void AnAppendThatDoesNotFitItsTablesOrPagesIsRefused()
    {
        Device device = TestDevices.Get("cpu");
        using Tensor rows = Filled(device, 1, 3, 2, 4), keys = Filled(device, 1, 8, 2, 4), values = Filled(device, 1, 8, 2, 4), other = Filled(device, 1, 3, 2, 4);
        using Tensor pool = Filled(device, 3, 4, 2, 4), otherPool = Filled(device, 3, 4, 2, 4), table = Tensor.From<int>(device, [0, 1, 2, 3], 1, 2, 2);
        using Tensor positions = Tensor.From<int>(device, [3], 1), lengths = Tensor.From<int>(device, [2, 6], 1, 2);
        using Tensor cos = Tensor.Allocate(device, DataType.Float32, 5, 2), wide = Tensor.Allocate(device, DataType.Float32, 9, 3);
        Refuses(keys, values, new() { Cos = cos, Sin = cos }, "positions[0] must be 0 to 2, so that 3 new tokens fit maxPosition=5, but is 3");
        Refuses(keys, values, new() { Cos = cos }, "sin is missing");
        Refuses(keys, values, new() { Cos = wide, Sin = wide }, "cos must have at most 2 columns");
        Refuses(keys, values, new() { KvLengths = lengths }, "kvLengths[0, 1] must be 0 to 5, so that 3 new tokens fit capacity=8, but is 6");
        Refuses(pool, otherPool, new() { PageTable = table }, "pageTable[0, 1, 1] must be 0 to 2 but is 3");
        Refuses(keys, keys, default, "keyCache must not overlap valueCache");
        Refuses(keys, values, new() { Query = rows }, "query must not overlap newKey");
        Refuses(keys, values, new() { KeyScale = cos }, "keyScale is given but the problem has none");
        Assert.That(keys.ToArray<float>().Concat(values.ToArray<float>()).Concat(pool.ToArray<float>()), Has.All.EqualTo(Canary));

        void Refuses(TensorView keyCache, TensorView valueCache, AttentionAppendInputs inputs, string message) => Assert.That(
            Assert.Catch<ArgumentException>(() => KernelEngine.Attention.Append(rows, other, keyCache, valueCache, positions, inputs))!.Message,
            Does.Contain(message));
    }

    private static AttentionInputs With(string name, TensorView view) => name switch
    {
        "alibiSlopes" => new() { AlibiSlopes = view },
        "bias" => new() { Bias = view },
        "mask" => new() { Mask = view },
        "blockMask" => new() { BlockMask = view },
        "sinkLogits" => new() { SinkLogits = view },
        "headWindows" => new() { HeadWindows = view },
        "queryOffsets" => new() { QueryOffsets = view },
        "kvOffsets" => new() { KvOffsets = view },
        "kvLengths" => new() { KvLengths = view },
        "slotBias" => new() { SlotBias = view },
        "keyScale" => new() { KeyScale = view },
        "valueScale" => new() { ValueScale = view },
        "headGain" => new() { HeadGain = view },
        "headOffset" => new() { HeadOffset = view },
        _ => throw new ArgumentOutOfRangeException(nameof(name)),
    };

    private static Tensor Filled(Device device, params long[] shape)
    {
        Tensor tensor = Tensor.Allocate(device, DataType.Float32, shape);
        tensor.CopyFrom<float>(Enumerable.Repeat(Canary, (int)tensor.Layout.Count).ToArray());
        return tensor;
    }

    /// <summary>Tensors that fit one another, on the reference device: it takes every problem.</summary>
    private sealed class Call : IDisposable
    {
        private readonly List<Tensor> _owned = [];
        private readonly Tensor _output, _lse;

        public Call(int batchSize = 2, bool paged = false)
        {
            Query = Own(batchSize, 3, 4, 8);
            Key = paged ? Own(4, 4, 2, 8) : Own(batchSize, 5, 2, 8);
            Value = paged ? Own(4, 4, 2, 6) : Own(batchSize, 5, 2, 6);
            Output = Own(batchSize, 3, 4, 6);
            Lse = Own(batchSize, 4, 3);
            (_output, _lse) = (_owned[3], _owned[4]);
        }

        public Device Device { get; } = TestDevices.Get("reference");

        public TensorView Query { get; }

        public TensorView Key { get; }

        public TensorView Value { get; }

        public TensorView Output { get; }

        public TensorView Lse { get; set; }

        public bool AreOutputsUntouched => _output.ToArray<float>().Concat(_lse.ToArray<float>()).All(x => x == Canary);

        public void Forward(AttentionOptions? options, AttentionInputs inputs) =>
            KernelEngine.Attention.Forward(Query, Key, Value, Output, options, Lse, inputs);

        public void Refuses(AttentionOptions? options, AttentionInputs inputs, string message)
        {
            foreach (Action call in (Action[])[
                () => Forward(options, inputs), () => KernelEngine.Attention.Decode(Query, Key, Value, Output, options, Lse, inputs)])
            {
                Assert.That(Assert.Catch<ArgumentException>(() => call())!.Message, Does.Contain(message));
                Assert.That(AreOutputsUntouched);
            }
        }

        public void Dispose() => _owned.ForEach(t => t.Dispose());

        private TensorView Own(params long[] shape)
        {
            _owned.Add(Filled(Device, shape));
            return _owned[^1].View;
        }
    }
}
