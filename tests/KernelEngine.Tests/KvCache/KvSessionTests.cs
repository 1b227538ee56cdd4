namespace KernelEngine.Tests.KvCache;

/// <summary>What holds for every policy of the list, on random queries, keys and values.</summary>
public sealed class KvSessionTests
{
    private const int HeadDim = 16, NumKvHeads = 2, Length = 60, ChunkSize = 16, RotaryDim = 8;

    private const KvPhases Everywhere = KvPhases.PrefillChunk | KvPhases.PrefillEnd | KvPhases.Decode;

    public static IEnumerable<string> PolicyNames =>
        [.. KvPolicyList.All.Select(policy => policy.Name), "ada:snapkv", "pyramid:snapkv", "ada:pyramid:h2o", "ada:ems", "ada-floor:snapkv"];

    public static IEnumerable<TestCaseData> PoliciesAndGroups =>
        from name in PolicyNames
        from groupSize in (int[])[1, 2, 4, 8]
        select new TestCaseData(name, groupSize);

    [TestCaseSource(nameof(PoliciesAndGroups))]
    public void EvictingNothingIsTheFullCacheBitForBit(string name, int groupSize)
    {
        using var full = new Run("cpu", new FullCache(), groupSize);
        using var run = new Run("cpu", Create(name, budget: 1000, groupSize), groupSize);
        Assert.That(run.Finish(), Is.EqualTo(full.Finish()));
        Assert.That(run.Session.Cache.Layers.SelectMany(layer => layer.Cells).Select(cell => cell.Length), Has.All.EqualTo(Length));
    }

    [TestCaseSource(nameof(PoliciesAndGroups))]
    public void BudgetsHoldAndNothingLeaks(string name, int groupSize)
    {
        using var run = new Run("cpu", Create(name, budget: 24, groupSize, Everywhere), groupSize);
        float[] output = run.Finish();
        Assert.That(output, Has.All.Matches<float>(float.IsFinite));
        foreach (KvLayer layer in run.Session.Cache.Layers)
        {
            Assert.That(layer.FindInconsistency(), Is.Null);
            if (!KeepsAll(name))
                Assert.That(layer.Cells.Sum(cell => cell.Length), Is.LessThanOrEqualTo(Bound(name) * NumKvHeads), "slots of the layer");
            foreach (KvCell cell in layer.Cells)
                Assert.That(cell.Positions.ToArray(), Is.Unique.And.All.InRange(0, Length - 1));
        }
        run.Session.Clear();
        Assert.That(run.Session.Cache.Bytes.PayloadUsed, Is.Zero);
    }

    // Codes below what a policy keeps: with 8 bits the attention is nearly that of the full cache where nothing is dropped, and budgets
    // hold where something is; all but the newest slots are codes, unless a window or a merged slot keeps them in full.
    [TestCaseSource(nameof(PolicyNames))]
    public void SlotsBecomeCodesUnderEveryPolicy(string name)
    {
        var options = new KvCacheOptions { CodeBits = 8, FullCount = 4 };
        using var full = new Run("cpu", new FullCache(), 2);
        using var whole = new Run("cpu", Create(name, budget: 1000, 2), 2, options);
        Assert.That(whole.Finish(), Is.EqualTo(full.Finish()).Within(0.01));
        using var run = new Run("cpu", Create(name, budget: 24, 2, Everywhere), 2, options);
        Assert.That(run.Finish(), Has.All.Matches<float>(float.IsFinite));
        foreach (KvLayer layer in whole.Session.Cache.Layers.Concat(run.Session.Cache.Layers))
        {
            Assert.That(layer.FindInconsistency(), Is.Null);
            foreach (KvCell cell in layer.Cells)
            {
                int pages = cell.IsRing ? 0 : Math.Max(0, cell.Length - 4) / layer.PageSize;
                int size = layer.PageSize;
                pages -= Enumerable.Range(0, pages).Count(page => cell.Biases.Slice(page * size, size).ContainsAnyExcept(0f));
                Assert.That(cell.CodedLength, Is.EqualTo(pages * layer.PageSize));
            }
            if (layer == run.Session.Cache.Layers[0] && !KeepsAll(name))
                Assert.That(layer.Cells.Sum(cell => cell.Length), Is.LessThanOrEqualTo(Bound(name) * NumKvHeads), "slots of the layer");
        }
        run.Session.Clear();
        Assert.That(run.Session.Cache.Bytes.PayloadUsed, Is.Zero);
    }

    // Rows in another orthonormal basis, with all of its directions: the same attention, and the same slots.
    [TestCaseSource(nameof(PolicyNames))]
    public void RowsInAnotherBasisAreTheSame(string name)
    {
        Device device = TestDevices.Get("cpu");
        float[] basis = [.. KvProjectionTests.Basis(HeadDim, 1), .. KvProjectionTests.Basis(HeadDim, 2)];
        using var projection = new KvProjection(device, new KvLayerShape(NumKvHeads, HeadDim, HeadDim), basis, basis);
        KvPolicy policy = Create(name, budget: 24, 2, Everywhere);
        if (policy.Positions != KvPositions.Original || policy.NeedsWholeKeys)
        {
            Assert.That(() => new Run("cpu", policy, 2, projection: projection), Throws.TypeOf<NotSupportedException>());
            return;
        }
        using var whole = new Run("cpu", policy, 2);
        using var turned = new Run("cpu", policy, 2, projection: projection);
        Assert.That(turned.Finish(), Is.EqualTo(whole.Finish()).Within(2e-5));
        Assert.That(turned.Kept(), Is.EqualTo(whole.Kept()));
    }

    // What comes later differs: nothing that was computed or kept before may.
    [TestCaseSource(nameof(PolicyNames))]
    public void NoPolicySeesTheFuture(string name)
    {
        using var one = new Run("cpu", Create(name, budget: 24, 2, Everywhere), 2);
        using var other = new Run("cpu", Create(name, budget: 24, 2, Everywhere), 2) { PoisonFrom = 2 * ChunkSize };
        for (int step = 0; step < 2; step++)
        {
            Assert.That(other.Chunk(), Is.EqualTo(one.Chunk()));
            Assert.That(other.Kept(), Is.EqualTo(one.Kept()));
        }
        Assert.That(other.Chunk(), Is.Not.EqualTo(one.Chunk()));
    }

    [Test]
    public void AStepWithAFullRingAllocatesNothing()
    {
        Device device = TestDevices.Get("cpu");
        var shape = new KvLayerShape(NumKvHeads, HeadDim, HeadDim);
        using var session = new KvSession(device, [shape], [4], new StreamingLlm(20), new KvCacheOptions { PageSize = 8 });
        using Tensor query = Random(device, 1, 1, 1, 4, HeadDim), key = Random(device, 2, 1, 1, NumKvHeads, HeadDim);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, 1, 4, HeadDim);
        int position = 0;
        for (int step = 0; step < 40; step++)
            session.Run(0, query, key, key, output, position++, KvPhases.Decode, options: AttentionOptions.Causal);
        long before = GC.GetAllocatedBytesForCurrentThread();
        session.Run(0, query, key, key, output, position, KvPhases.Decode, options: AttentionOptions.Causal);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    [Test]
    public void AStepThatFailsDidNothing()
    {
        Device device = TestDevices.Get("cpu");
        using var session = new KvSession(device, [new(NumKvHeads, HeadDim, HeadDim)], [4], Create("expected", 24, 2));
        using var tokens = new Run("cpu", new FullCache(), 1); // for its rotary tables
        using Tensor query = Random(device, 1, 1, 3, 4, HeadDim), key = Random(device, 2, 1, 3, NumKvHeads, HeadDim);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, 3, 4, HeadDim);
        using Tensor narrow = Tensor.Allocate(device, DataType.Float32, 1, 3, 3, HeadDim);
        float[] before = query.ToArray<float>();
        Assert.That(() => session.Run(0, query, key, key, narrow, 0, KvPhases.PrefillEnd, tokens.Rotary), Throws.ArgumentException);
        Assert.That(
            () => session.Run(0, query, key, key, output, 2 * Length - 2, KvPhases.PrefillEnd, tokens.Rotary),
            Throws.ArgumentException.With.Message.Contains("positions"));
        Assert.That(query.ToArray<float>(), Is.EqualTo(before));
        Assert.That(session.Cache.Bytes.PayloadUsed, Is.Zero);
        session.Run(0, query, key, key, output, 2 * Length - 3, KvPhases.PrefillEnd, tokens.Rotary);
        Assert.That(session.Cache.Layers[0].Cells[0].Positions.ToArray(), Is.EqualTo(new[] { 2 * Length - 3, 2 * Length - 2, 2 * Length - 1 }));
    }

    // Positions within what is seen need no tables beyond it, however long the text.
    [TestCase("streaming-reindexed")]
    [TestCase("longheads")]
    public void TextsGoOnBeyondTheRotaryTables(string name)
    {
        using var run = new Run("cpu", Create(name, budget: 24, 2), 2);
        run.Chunk(KvPhases.PrefillEnd);
        for (int step = 0; step < run.Rotary.Cos[0]; step++)
            Assert.That(run.Chunk(KvPhases.Decode, 1), Has.All.Matches<float>(float.IsFinite));
    }

    [TestCase("opencl", Category = "OpenCL")]
    public void PoliciesRunOnGpus(string deviceName)
    {
        _ = TestDevices.Get(deviceName);
        foreach (string name in PolicyNames)
        {
            using var cpu = new Run("cpu", Create(name, budget: 24, 2, Everywhere), 2);
            using var gpu = new Run(deviceName, Create(name, budget: 24, 2, Everywhere, deviceName), 2);
            float[] expected = cpu.Chunk(), actual = gpu.Chunk();
            Assert.That(actual, Is.EqualTo(expected).Within(1e-4), name);
            Assert.That(gpu.Kept(), Is.EqualTo(cpu.Kept()), name);
            Assert.That(gpu.Chunk(), Is.EqualTo(cpu.Chunk()).Within(1e-4), name);
        }
    }

    [TestCase(1)]
    [TestCase(2)]
    public void TheSmallestBudgetKeepsTheBest(int budget)
    {
        using var run = new Run("cpu", new KeyNorm(new UniformBudget(budget)) { Phases = Everywhere }, 2);
        run.Finish();
        Assert.That(run.Session.Cache.Layers.SelectMany(layer => layer.Cells).Select(cell => cell.Length), Has.All.EqualTo(budget));
    }

    [Test]
    public void BudgetsAndWindowsThatKeepNothingAreRefused()
    {
        Assert.That(() => new UniformBudget(0), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => new ShareBudget(0), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => new StreamingLlm(4, 4), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => new AdaptiveBudget(new UniformBudget(8), 1.5), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => KvPolicyList.Create("nothing", new KvPolicySettings()), Throws.ArgumentException.With.Message.Contains("snapkv"));
        Assert.That(() => KvPolicyList.Create("first:snapkv", new KvPolicySettings()), Throws.ArgumentException.With.Message.Contains("pyramid"));
        Assert.That(() => KvPolicyList.Create("duo", new KvPolicySettings()), Throws.ArgumentException.With.Message.Contains("heads"));
    }

    // More is protected than the budget allows: what is protected stays.
    [Test]
    public void ProtectionGoesBeforeTheBudget()
    {
        using var run = new Run("cpu", new KeyNorm(new UniformBudget(4), sinkCount: 3, recentCount: 7) { Phases = KvPhases.PrefillEnd }, 1);
        run.Chunk(KvPhases.PrefillEnd);
        foreach (KvCell cell in run.Session.Cache.Layers[0].Cells)
            Assert.That(cell.Positions.ToArray(), Is.EqualTo((int[])[0, 1, 2, .. Enumerable.Range(ChunkSize - 7, 7)]));
    }

    // A second prompt finds the windows of the first as rings, which took its tokens already.
    [Test]
    public void AWindowGoesOnOverASecondPrompt()
    {
        using var run = new Run("cpu", new StreamingLlm(12, 4) { Phases = KvPhases.PrefillEnd | KvPhases.Decode }, 1);
        run.Chunk(KvPhases.PrefillEnd);
        run.Chunk(KvPhases.Decode, 1);
        run.Chunk(KvPhases.PrefillEnd);
        foreach (KvCell cell in run.Session.Cache.Layers.SelectMany(layer => layer.Cells))
            Assert.That(cell.Positions.ToArray(), Is.EquivalentTo((int[])[0, 1, 2, 3, .. Enumerable.Range(2 * ChunkSize + 1 - 8, 8)]));
    }

    // PyramidKV's own numbers for 5 layers, a mean of 100 beside the window and β = 20.
    [Test]
    public void PyramidBudgetsAreThePapers()
    {
        var budget = new PyramidBudget(100, numLayers: 5, recentCount: 0);
        using var cache = new KernelEngine.KvCache(TestDevices.Get("cpu"), [.. Enumerable.Repeat(new KvLayerShape(1, 1, 1), 5)]);
        Assert.That(cache.Layers.Select(layer => budget.MeanSlots(layer, 1000)), Is.EqualTo(new[] { 195, 148, 100, 52, 5 }));
    }

    // Two heads, the first with one large score and the second with none: with a half guarded, the second takes what the first has no use for.
    [Test]
    public void HeadsCompeteForTheBudgetOfALayer()
    {
        var policy = new FixedScores(new AdaptiveBudget(new UniformBudget(2), guard: 0.5), [[9, 1, 1, 1], [5, 5, 5, 5]]) { Phases = KvPhases.PrefillEnd };
        using var run = new Run("cpu", policy, 1);
        run.Chunk(KvPhases.PrefillEnd, count: 4);
        Assert.That(run.Kept()[..2], Is.EqualTo(new int[][] { [0], [1, 2, 3] }));
    }

    // Of the eight best slots the first head has one and the second seven; a quarter of four slots as floor makes that 1.75 and 6.25.
    [Test]
    public void HeadsHaveAFloorAndAPartOfWhatTheyWin()
    {
        float[][] scores = [[9, 1, 1, 1, 1, 1, 1, 1], [5, 5, 5, 5, 5, 5, 5, 5]];
        var policy = new FixedScores(new FlooredBudget(new UniformBudget(4), floor: 0.25), scores)
        {
            Phases = KvPhases.PrefillEnd,
        };
        using var run = new Run("cpu", policy, 1);
        run.Chunk(KvPhases.PrefillEnd, count: 8);
        Assert.That(run.Kept()[..2], Is.EqualTo(new int[][] { [0, 7], [2, 3, 4, 5, 6, 7] }));
    }

    private static bool KeepsAll(string name) => Create(name, 24, 2).Phases == KvPhases.None;

    private static int Bound(string name) => name switch
    {
        "pyramid:snapkv" or "ada:pyramid:h2o" => 2 * 24 + 32,
        "moa" => 128,
        "locret" => 24 + 3,
        _ => 25, // what was appended since the last eviction included
    };

    private static KvPolicy Create(
        string name, int budget, int groupSize, KvPhases? phases = null, string deviceName = "cpu") => KvPolicyList.Create(name, new KvPolicySettings
        {
            Budget = budget,
            SinkCount = 2,
            Phases = phases,
            NumLayers = 2,
            Length = 4096,
            IsFullHead = (layer, head) => false,
            Span = (layer, head) => budget,
            Networks = name == "locret" ? Networks(deviceName, groupSize) : null,
        });

    private static RetainingNetwork[] Networks(string deviceName, int groupSize)
    {
        Device device = TestDevices.Get(deviceName);
        int width = NumKvHeads * (groupSize + 2) * HeadDim;
        return [.. Enumerable.Range(0, 2).Select(layer => new RetainingNetwork(Random(device, 90 + layer, 7, width), Random(device, 95 + layer, NumKvHeads, 7)))];
    }

    private static Tensor Random(Device device, int seed, params long[] shape) => RandomTensors.Create(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(shape), ""), seed);

    private sealed class FixedScores(KvBudget budget, float[][] scores) : ScoringPolicy(budget)
    {
        public override string Name => "fixed";

        protected override void Score(KvStep step) => step.SetScores((h, slot) => scores[h][slot]);
    }

    // A prompt of three chunks and then token by token, through two layers that do not feed one another.
    private sealed class Run : IDisposable
    {
        private readonly Device _device;
        private readonly int _numHeads;
        private readonly Tensor _cos, _sin;
        private int _position;

        public Run(string deviceName, KvPolicy policy, int groupSize, KvCacheOptions? options = null, KvProjection? projection = null)
        {
            _device = TestDevices.Get(deviceName);
            _numHeads = NumKvHeads * groupSize;
            RotaryTables tables = RotaryTables.Create(2 * Length, RotaryDim, 10_000);
            _cos = Tensor.From<float>(_device, tables.Cos, 2 * Length, RotaryDim / 2);
            _sin = Tensor.From<float>(_device, tables.Sin, 2 * Length, RotaryDim / 2);
            var shape = new KvLayerShape(NumKvHeads, HeadDim, HeadDim);
            options = (options ?? KvCacheOptions.Default) with { PageSize = 8 };
            Session = new KvSession(
                _device, [shape, shape], [_numHeads, _numHeads], policy, options, projection is null ? null : [projection, projection]);
        }

        public KvSession Session { get; }

        public KvRotary Rotary => new(_cos, _sin);

        public int PoisonFrom { get; init; } = int.MaxValue;

        public float[] Chunk(KvPhases phase = KvPhases.PrefillChunk, int count = ChunkSize)
        {
            var outputs = new List<float>();
            for (int layer = 0; layer < 2; layer++)
            {
                using Tensor query = Rows(1, layer, count, _numHeads), key = Rows(2, layer, count, NumKvHeads), value = Rows(3, layer, count, NumKvHeads);
                using Tensor output = Tensor.Allocate(_device, DataType.Float32, 1, count, _numHeads, HeadDim);
                Session.Run(layer, query, key, value, output, _position, phase, Rotary);
                outputs.AddRange(output.ToArray<float>());
            }
            _position += count;
            return [.. outputs];
        }

        public float[] Finish()
        {
            float[] outputs = [.. Chunk(), .. Chunk(), .. Chunk(KvPhases.PrefillEnd)];
            while (_position < Length)
                outputs = [.. outputs, .. Chunk(KvPhases.Decode, 1)];
            return outputs;
        }

        public int[][] Kept() => [.. Session.Cache.Layers.SelectMany(layer => layer.Cells).Select(cell => cell.Positions.ToArray())];

        public void Dispose()
        {
            Session.Dispose();
            _cos.Dispose();
            _sin.Dispose();
        }

        // Token p of a kind is the same whatever the chunks.
        private Tensor Rows(int kind, int layer, int count, int heads)
        {
            var values = new float[count * heads * HeadDim];
            for (int t = 0; t < count; t++)
            {
                var random = new Random(1_000_003 * kind + 10_007 * layer + _position + t + (_position + t >= PoisonFrom ? 500_000 : 0));
                for (int i = 0; i < heads * HeadDim; i++)
                    values[t * heads * HeadDim + i] = 2 * random.NextSingle() - 1;
            }
            return Tensor.From<float>(_device, values, 1, count, heads, HeadDim);
        }
    }
}
