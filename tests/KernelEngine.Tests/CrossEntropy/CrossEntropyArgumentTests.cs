namespace KernelEngine.Tests.CrossEntropy;

/// <summary>Arguments that do not fit: the message names what is wrong and both sides, and nothing is written.</summary>
public sealed class CrossEntropyArgumentTests
{
    private const float Canary = -77;

    /// <summary>The calls of the facade.</summary>
    [Flags]
    public enum Calls
    {
        None = 0,
        Forward = 1,
        Shard = 2,
        Backward = 4,
        Merge = 8,
        Rows = Forward | Shard | Backward,
        Whole = Forward | Backward | Merge,
        All = Rows | Merge,
    }

    private static IEnumerable<TestCaseData> WrongTensors()
    {
        yield return Zeros("hidden", [10, 6], Calls.Rows, "classifier must have shape [vocabSize=12, hiddenSize=6] but has [12, 8]");
        yield return Zeros("hidden", [80], Calls.Rows, "hidden must have 2 dimensions but has shape [80]");
        yield return Zeros("hidden", [9, 8], Calls.Rows, "targets must have shape [rows=9] but has [10]");
        yield return Zeros("hidden", [10, 8], Calls.Rows, "hidden and classifier must be f32, f16 or bf16, not i32", DataType.Int32);
        yield return Zeros("hidden", [10, 8], Calls.Rows, "classifier must hold bf16 but holds f32", DataType.BFloat16);
        yield return Zeros("classifier", [12, 8, 1], Calls.Rows, "classifier must have 2 dimensions but has shape [12, 8, 1]");
        yield return Zeros("classifier", [12, 8], Calls.Rows, "classifier must hold f32 but holds f16", DataType.Float16);
        yield return Zeros("targets", [11], Calls.Rows, "targets must have shape [rows=10] but has [11]", DataType.Int32);
        yield return Zeros("targets", [11], Calls.Merge,
            "states must have shape [parts=2, positions=11, stateSize=5] but has [2, 10, 5]", DataType.Int32);
        yield return Zeros("targets", [10], Calls.All, "targets must hold i32 but holds f32");
        yield return Zeros("targets", [2, 5], Calls.Rows, "targets must have shape [rows=10] but has [2, 5]", DataType.Int32);
        yield return Zeros("bias", [11], Calls.Rows, "bias must have shape [vocabSize=12] but has [11]");
        yield return Zeros("bias", [12], Calls.Rows, "The bias must be f32, f16 or bf16, not i32", DataType.Int32);
        yield return Zeros("classWeights", [13], Calls.Whole, "classWeights must have shape [classes=12] but has [13]");
        yield return Zeros("classWeights", [12], Calls.Shard, "classWeights must have shape [classes=20] but has [12]");
        yield return Zeros("classWeights", [12], Calls.Whole, "classWeights must hold f32 but holds f16", DataType.Float16);
        yield return Zeros("tokenWeights", [9], Calls.All, "tokenWeights must have shape [positions=10] but has [9]");
        yield return Zeros("divisor", [1], Calls.Whole, "divisor is given but the problem has none");
        // Outputs, and what only the gradients take.
        yield return Zeros("loss", [10], Calls.Forward | Calls.Merge, "loss must have shape [1=1] but has [10]");
        yield return Zeros("zLoss", [2], Calls.Forward | Calls.Merge, "zLoss must have shape [1=1] but has [2]");
        yield return Zeros("lse", [9], Calls.Whole, "lse must have shape [positions=10] but has [9]");
        yield return Zeros("lse", [10], Calls.Whole, "lse must hold f32 but holds bf16", DataType.BFloat16);
        yield return Zeros("logProbability", [1], Calls.Forward | Calls.Merge, "logProbability must have shape [positions=10] but has [1]");
        yield return Zeros("entropy", [1], Calls.Forward | Calls.Merge, "entropy must have shape [positions=10] but has [1]");
        yield return Zeros("bestClass", [10], Calls.Forward | Calls.Shard | Calls.Merge, "bestClass must hold i32 but holds f32");
        yield return Zeros("accuracy", [2], Calls.Forward | Calls.Merge, "accuracy must have shape [1=1] but has [2]");
        yield return Zeros("meanLogit", [13], Calls.Forward | Calls.Shard, "meanLogit must have shape [vocabSize=12] but has [13]");
        yield return Zeros("meanLogit", [12], Calls.Merge, "meanLogit is given but the problem has none");
        yield return Zeros("state", [10, 4], Calls.Shard | Calls.Merge,
            "state must have shape [positions=10, stateSize=5] but has [10, 4]");
        yield return Zeros("states", [10, 5], Calls.Merge, "states must have 3 dimensions but has shape [10, 5]");
        yield return Zeros("states", [2, 10, 6], Calls.Merge,
            "states must have shape [parts=2, positions=10, stateSize=5] but has [2, 10, 6]");
        yield return Zeros("states", [0, 10, 5], Calls.Merge, "There must be at least one part, not 0");
        yield return Zeros("bestClasses", [1, 10], Calls.Merge,
            "bestClasses must have shape [parts=2, positions=10] but has [1, 10]", DataType.Int32);
        yield return Zeros("gradHidden", [10, 9], Calls.Backward, "gradHidden must have shape [rows=10, hiddenSize=8] but has [10, 9]");
        yield return Zeros("gradHidden", [10, 8], Calls.Backward, "gradHidden must hold f32 but holds bf16", DataType.BFloat16);
        yield return Zeros("gradClassifier", [8, 12], Calls.Backward,
            "gradClassifier must have shape [vocabSize=12, hiddenSize=8] but has [8, 12]");
        yield return Zeros("gradBias", [12], Calls.Backward, "gradBias is given but the problem has none");
        yield return Zeros("gradLoss", [10], Calls.Backward, "gradLoss must have shape [1=1] but has [10]");
        yield return Zeros("gradLse", [1], Calls.Backward, "gradLse must have shape [positions=10] but has [1]");
        yield return Zeros("gradEntropy", [10], Calls.Backward, "entropy is missing");
        yield return Zeros("order", [11], Calls.Backward, "order must have shape [vocabSize=12] but has [11]", DataType.Int32);
        yield return Zeros("order", [12], Calls.Backward, "order must hold i32 but holds f32");
        yield return Zeros("order", [12], Calls.Backward, "order must hold 0 to 11, each once, but order[1] is 0", DataType.Int32);
        // Integers.
        yield return Integers("targets", [0, 1, 2, 12, 4, 5, 6, 7, 8, 9], Calls.Whole,
            "targets[3] must be 0 to 11, or -100 to be ignored, but is 12");
        yield return Integers("targets", [0, 1, 2, 3, 4, 5, 6, 7, 8, -1], Calls.Whole,
            "targets[9] must be 0 to 11, or -100 to be ignored, but is -1");
        yield return Integers("targets", [int.MinValue, 1, 2, 3, 4, 5, 6, 7, 8, 9], Calls.Shard,
            "targets[0] must be 0 to 19, or -100 to be ignored, but is -2147483648");
        yield return Integers("targets", [0, 20, 2, 3, 4, 5, 6, 7, 8, 9], Calls.Shard,
            "targets[1] must be 0 to 19, or -100 to be ignored, but is 20");
        yield return Integers("order", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12], Calls.Backward,
            "order must hold 0 to 11, each once, but order[11] is 12");
        yield return Integers("order", [-1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], Calls.Backward,
            "order must hold 0 to 11, each once, but order[0] is -1");
        yield return Integers("order", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 3], Calls.Backward,
            "order must hold 0 to 11, each once, but order[11] is 3");

        static TestCaseData Zeros(string name, long[] shape, Calls calls, string message, DataType type = DataType.Float32) => Case(
            name, device => Tensor.Allocate(device, type, shape), calls, message);

        static TestCaseData Integers(string name, int[] values, Calls calls, string message) => Case(
            name, device => Tensor.From<int>(device, values, values.Length), calls, message);

        static TestCaseData Case(string name, Func<Device, Tensor> create, Calls calls, string message) =>
            new TestCaseData(name, create, calls, message).SetArgDisplayNames(name, calls.ToString(), message);
    }

    private static IEnumerable<TestCaseData> WrongOptions()
    {
        yield return Case(new() { LabelSmoothing = -0.1f }, "labelSmoothing must be at least 0 and below 1 but is -0.1");
        yield return Case(new() { LabelSmoothing = 1 }, "labelSmoothing must be at least 0 and below 1 but is 1");
        yield return Case(new() { LabelSmoothing = float.NaN }, "labelSmoothing");
        yield return Case(new() { ZLoss = -1 }, "zLoss must be 0 or positive but is -1");
        yield return Case(new() { ZLoss = float.NaN }, "zLoss");
        yield return Case(new() { ZLoss = float.PositiveInfinity }, "zLoss");
        yield return Case(new() { Shift = 10 }, "shift must be 0 to 9, below the length of a sequence, but is 10");
        yield return Case(new() { Shift = -1 }, "shift must be 0 to 9, below the length of a sequence, but is -1");
        yield return Case(new() { Shift = 5, SequenceLength = 5 }, "shift must be 0 to 4, below the length of a sequence, but is 5");
        yield return Case(new() { SequenceLength = 3 }, "rows must be whole sequences but 10 is no multiple of sequenceLength=3");
        yield return Case(new() { SequenceLength = -2 }, "rows must be whole sequences but 10 is no multiple of sequenceLength=-2");
        yield return Case(new() { Shift = int.MaxValue }, "shift must be 0 to 9");
        yield return Case(new() { LogitSoftCap = -1 }, "logitSoftCap must be 0 or positive but is -1", Calls.Rows);
        yield return Case(new() { LogitSoftCap = float.NaN }, "logitSoftCap", Calls.Rows);
        yield return Case(new() { LogitSoftCap = float.PositiveInfinity }, "logitSoftCap", Calls.Rows);
        yield return Case(new() { Temperature = 0 }, "temperature must be positive but is 0", Calls.Rows);
        yield return Case(new() { Temperature = -1 }, "temperature must be positive but is -1", Calls.Rows);
        yield return Case(new() { Temperature = float.NaN }, "temperature", Calls.Rows);
        yield return Case(new() { Temperature = float.PositiveInfinity }, "temperature", Calls.Rows);
        yield return Case(new() { Reduction = CrossEntropyReduction.Divisor }, "divisor is missing", Calls.Whole);
        yield return Case(new() { Reduction = CrossEntropyReduction.None }, "loss must have shape [positions=10] but has [1]",
            Calls.Forward | Calls.Merge);
        yield return Case(new() { Filter = new(-0.1f) }, "filterEpsilon must be at least 0 and below 1 but is -0.1", Calls.Backward);
        yield return Case(new() { Filter = new(1) }, "filterEpsilon must be at least 0 and below 1 but is 1", Calls.Backward);
        yield return Case(new() { Filter = new(float.NaN) }, "filterEpsilon", Calls.Backward);

        static TestCaseData Case(CrossEntropyOptions options, string message, Calls calls = Calls.All) =>
            new TestCaseData(options, calls, message).SetArgDisplayNames(calls.ToString(), message);
    }

    [TestCaseSource(nameof(WrongTensors))]
    public void ATensorThatDoesNotFitIsRefused(string name, Func<Device, Tensor> create, Calls calls, string message)
    {
        using var call = new Call();
        call.Set(name, create(call.Device));
        call.Refuses<ArgumentException>(calls, message);
    }

    [TestCaseSource(nameof(WrongOptions))]
    public void AnOptionOutOfRangeIsRefused(CrossEntropyOptions options, Calls calls, string message)
    {
        using var call = new Call { Options = options };
        call.Refuses<ArgumentException>(calls, message);
    }

    [TestCase(9, 20, "The shard's classes 9 to 20 must be among the vocabulary's 20")]
    [TestCase(-1, 20, "The shard's classes -1 to 10 must be among the vocabulary's 20")]
    [TestCase(0, 11, "The shard's classes 0 to 11 must be among the vocabulary's 11")]
    [TestCase(int.MaxValue, 20, "must be among the vocabulary's 20")]
    [TestCase(0, 0, "A vocabulary has at least one class, not 0")]
    [TestCase(0, -5, "A vocabulary has at least one class, not -5")]
    public void AShardOutsideTheVocabularyIsRefused(int first, int classes, string message)
    {
        using var call = new Call { Shard = new CrossEntropyShard(first, classes) };
        call.Refuses<ArgumentException>(Calls.Shard, message);
        call.IsShardBackward = true;
        call.Refuses<ArgumentException>(Calls.Backward, message);
    }

    [TestCase("hidden", Calls.Rows)]
    [TestCase("classifier", Calls.Rows)]
    [TestCase("targets", Calls.All)]
    [TestCase("lse", Calls.Backward)]
    [TestCase("state", Calls.Shard)]
    [TestCase("states", Calls.Merge)]
    public void AMissingTensorIsRefused(string name, Calls calls)
    {
        using var call = new Call();
        call.Set(name, null);
        call.Refuses<ArgumentException>(calls, $"{name} is missing");
    }

    [TestCase("hidden", Calls.Rows)]
    [TestCase("classifier", Calls.Rows)]
    [TestCase("targets", Calls.All)]
    [TestCase("states", Calls.Merge)]
    public void ADisposedTensorIsRefused(string name, Calls calls)
    {
        using var call = new Call();
        call[name]!.Dispose();
        call.Refuses<ObjectDisposedException>(calls, "disposed");
    }

    [TestCase("classifier", Calls.Rows)]
    [TestCase("targets", Calls.All)]
    [TestCase("loss", Calls.Forward | Calls.Merge)]
    [TestCase("gradHidden", Calls.Backward)]
    public void ATensorOfAnotherDeviceIsRefused(string name, Calls calls)
    {
        using var call = new Call();
        TensorLayout layout = call[name]!.Layout;
        long[] lengths = [.. Enumerable.Range(0, layout.Rank).Select(i => layout[i])];
        call.Set(name, Tensor.Allocate(TestDevices.Get("reference"), call[name]!.Type, lengths));
        call.Refuses<ArgumentException>(calls, $"{name} must be on device 'cpu' but is on 'reference'");
    }

    [Test]
    public void OutputsThatOverlapAreRefused()
    {
        using var call = new Call();
        call.Share("logProbability", "lse");
        call.Refuses<ArgumentException>(Calls.Forward | Calls.Merge, "must not overlap");
        call.Share("gradHidden", "hidden");
        call.Refuses<ArgumentException>(Calls.Backward, "gradHidden must not overlap hidden");
    }

    [Test]
    public void TheCallsThatAllOthersAreVariantsOfAreRight()
    {
        using var call = new Call();
        foreach (Calls one in (Calls[])[Calls.Forward, Calls.Shard, Calls.Backward, Calls.Merge])
        {
            call.Run(one);
            Assert.That(call.AreOutputsUntouched, Is.False, one.ToString());
            call.Restore();
        }
    }

    [TestCase(0, 0)]
    [TestCase(-1, 3)]
    [TestCase(3, 3)]
    public void ThereIsNoSuchRank(int rank, int ranks) =>
        Assert.That(() => CrossEntropyShard.Of(10, rank, ranks), Throws.InstanceOf<ArgumentOutOfRangeException>());

    [Test]
    public void TheEvenSplitCoversEveryClassOnce([Values(1, 2, 3, 7, 20, 25)] int ranks)
    {
        int next = 0;
        for (int rank = 0; rank < ranks; rank++)
        {
            (CrossEntropyShard shard, int size) = CrossEntropyShard.Of(20, rank, ranks);
            Assert.That(shard, Is.EqualTo(new CrossEntropyShard(next, 20)));
            Assert.That(size, Is.InRange(20 / ranks, (20 + ranks - 1) / ranks));
            next += size;
        }
        Assert.That(next, Is.EqualTo(20));
    }

    /// <summary>Tensors that fit one another: 10 rows of 8 and 12 classes, which as a shard are the first of 20.</summary>
    private sealed class Call : IDisposable
    {
        private readonly Dictionary<string, Tensor> _tensors = [];
        private readonly List<Tensor> _outputs = [], _owned = [];

        public Call()
        {
            foreach ((string name, DataType type, long[] shape) in ((string, DataType, long[])[])[
                ("hidden", DataType.Float32, [10, 8]), ("classifier", DataType.Float32, [12, 8]), ("targets", DataType.Int32, [10]),
                ("states", DataType.Float32, [2, 10, 5]), ("bestClasses", DataType.Int32, [2, 10])])
            {
                Set(name, Tensor.Allocate(Device, type, shape));
            }
            foreach ((string name, long[] shape) in ((string, long[])[])[
                ("loss", [1]), ("zLoss", [1]), ("lse", [10]), ("logProbability", [10]), ("state", [10, 5]), ("gradHidden", [10, 8]),
                ("gradClassifier", [12, 8])])
            {
                Set(name, Tensor.Allocate(Device, DataType.Float32, shape));
                _outputs.Add(_tensors[name]);
            }
            Restore();
        }

        public Device Device { get; } = TestDevices.Get("cpu");

        public CrossEntropyOptions? Options { get; init; }

        public CrossEntropyShard Shard { get; init; } = new(0, 20);

        public bool IsShardBackward { get; set; }

        public Tensor? this[string name] => _tensors.GetValueOrDefault(name);

        public bool AreOutputsUntouched => _outputs.SelectMany(t => t.ToArray<float>()).All(x => x == Canary);

        /// <summary>Fills the outputs with what a call would replace.</summary>
        public void Restore()
        {
            foreach (Tensor output in _outputs)
                output.CopyFrom<float>([.. Enumerable.Repeat(Canary, (int)output.Layout.Count)]);
        }

        public void Set(string name, Tensor? tensor)
        {
            if (tensor is null)
            {
                _tensors.Remove(name);
                return;
            }
            _owned.Add(tensor);
            _tensors[name] = tensor;
        }

        public void Share(string name, string other) => _tensors[name] = _tensors[other];

        public void Refuses<TException>(Calls calls, string message) where TException : Exception
        {
            foreach (Calls one in (Calls[])[Calls.Forward, Calls.Shard, Calls.Backward, Calls.Merge])
            {
                if ((calls & one) == 0)
                    continue;
                Assert.That(Assert.Catch<TException>(() => Run(one), one.ToString())!.Message, Does.Contain(message), one.ToString());
                Assert.That(AreOutputsUntouched, one.ToString());
            }
        }

        public void Run(Calls call)
        {
            var inputs = new CrossEntropyInputs
            {
                Bias = View("bias"),
                ClassWeights = View("classWeights"),
                TokenWeights = View("tokenWeights"),
                Divisor = View("divisor"),
            };
            var outputs = new CrossEntropyOutputs
            {
                Loss = View("loss"),
                ZLoss = View("zLoss"),
                Lse = View("lse"),
                LogProbability = View("logProbability"),
                Entropy = View("entropy"),
                BestClass = View("bestClass"),
                Accuracy = View("accuracy"),
                MeanLogit = View("meanLogit"),
            };
            switch (call)
            {
                case Calls.Forward:
                    KernelEngine.CrossEntropy.Forward(View("hidden"), View("classifier"), View("targets"), outputs, Options, inputs);
                    break;
                case Calls.Shard:
                    KernelEngine.CrossEntropy.ForwardShard(
                        View("hidden"), View("classifier"), View("targets"), Shard, View("state"), View("bestClass"), Options, inputs,
                        View("meanLogit"));
                    break;
                case Calls.Backward:
                    KernelEngine.CrossEntropy.Backward(
                        View("hidden"), View("classifier"), View("targets"), View("lse"),
                        new CrossEntropyGradients
                        {
                            Hidden = View("gradHidden"),
                            Classifier = View("gradClassifier"),
                            Bias = View("gradBias"),
                        },
                        Options, inputs,
                        new CrossEntropyUpstream
                        {
                            Loss = View("gradLoss"),
                            Lse = View("gradLse"),
                            GradEntropy = View("gradEntropy"),
                            Entropy = View("entropy"),
                        },
                        View("order"), IsShardBackward ? Shard : null);
                    break;
                default:
                    KernelEngine.CrossEntropy.Merge(
                        View("states"), View("bestClasses"), View("targets"), 12, outputs, Options, inputs, View("state"));
                    break;
            }
        }

        public void Dispose() => _owned.ForEach(t => t.Dispose());

        private TensorView View(string name) => _tensors.TryGetValue(name, out Tensor? tensor) ? tensor.View : default;
    }
}
