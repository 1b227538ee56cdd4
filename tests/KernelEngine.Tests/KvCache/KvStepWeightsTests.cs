namespace KernelEngine.Tests.KvCache;

/// <summary>The weights that policies see are those of softmax written out: of prompts, gathered while decoding, of remembered queries.</summary>
public sealed class KvStepWeightsTests
{
    private const int NumKvHeads = 2, GroupSize = 3, NumHeads = NumKvHeads * GroupSize, HeadDim = 8, PageSize = 4;

    // Chunks of a prompt, then tokens one by one, through several pages and some intervals, with a second prompt and a step of two tokens
    // in the midst of one. Over codes, which hold the keys exactly, steps are remembered and weighed at once.
    [TestCase("cpu", 1, 0)]
    [TestCase("cpu", 7, 0)]
    [TestCase("cpu", 7, 4)]
    [TestCase("cpu", 1, 8)]
    [TestCase("reference", 3, 0)]
    [TestCase("opencl", 7, 0, Category = "OpenCL")]
    [TestCase("opencl", 7, 8, Category = "OpenCL")]
    public void StatisticsAreTheSumsOfAllWeights(string deviceName, int interval, int codeBits)
    {
        var policy = new HeavyHitters(new UniformBudget(1000)) { Phases = KvPhases.Decode, Interval = interval };
        using var run = new Run(deviceName, policy, DataType.Float32, codeBits);
        run.Append(9, KvPhases.PrefillChunk);
        run.Append(3, KvPhases.PrefillEnd);
        for (int step = 0; step < 2 * interval; step++)
            run.Append(1, KvPhases.Decode);
        foreach ((int count, KvPhases phase) in (ReadOnlySpan<(int, KvPhases)>)[(5, KvPhases.PrefillEnd), (2, KvPhases.Decode)])
        {
            run.Append(1, KvPhases.Decode);
            run.Append(1, KvPhases.Decode);
            run.Append(count, phase);
        }
        while (run.Decoded % interval != 0)
            run.Append(1, KvPhases.Decode);
        Assert.That(run.Session.Cache.Layers[0].Cells[0].CodedLength, codeBits > 0 ? Is.GreaterThan(8) : Is.Zero);
        for (int h = 0; h < NumKvHeads; h++)
        {
            double[] expected = new double[run.Length];
            for (int head = h * GroupSize; head < (h + 1) * GroupSize; head++)
            {
                for (int token = 0; token < run.Length; token++)
                {
                    double[] weights = run.Weigh(token, head);
                    for (int j = 0; j <= token; j++)
                        expected[j] += weights[j];
                }
            }
            Assert.That(run.Session.Cache.Layers[0].Cells[h].Statistics.ToArray(), Is.EqualTo(expected).Within(1e-4));
        }
    }

    // Evictions further apart than the window, and nearer: the one gathers, the other remembers.
    [TestCase("cpu", 3, 4, DataType.Float32)]
    [TestCase("cpu", 3, 3, DataType.Float32)]
    [TestCase("cpu", 3, 2, DataType.Float32)]
    [TestCase("cpu", 5, 1, DataType.Float16)]
    [TestCase("cpu", 2, 6, DataType.Float16)]
    [TestCase("opencl", 3, 4, DataType.Float32, Category = "OpenCL")]
    [TestCase("opencl", 3, 2, DataType.Float32, Category = "OpenCL")]
    public void AWindowHasTheWeightsOfItsQueries(string deviceName, int window, int interval, DataType type)
    {
        var policy = new Recorder(window) { Phases = KvPhases.PrefillEnd | KvPhases.Decode, Interval = interval };
        using var run = new Run(deviceName, policy, type);
        run.Append(11, KvPhases.PrefillChunk);
        run.Append(2, KvPhases.PrefillEnd);
        Check(run.Length, Math.Min(window, run.Length));
        for (int step = 1; step <= 3 * interval; step++)
        {
            run.Append(1, KvPhases.Decode);
            if (step % interval == 0)
                Check(run.Length, window);
        }

        void Check(int length, int counted)
        {
            Assert.That(policy.Counted, Is.EqualTo(counted));
            for (int head = 0; head < NumHeads; head++)
            {
                var expected = new double[length];
                for (int token = length - counted; token < length; token++)
                {
                    double[] weights = run.Weigh(token, head);
                    for (int j = 0; j <= token; j++)
                        expected[j] += weights[j];
                }
                int capacity = policy.Weights.Length / NumHeads;
                double tolerance = type == DataType.Float32 ? 1e-5 : 5e-3;
                float[] actual = policy.Weights[(head * capacity)..(head * capacity + length)];
                Assert.That(actual, Is.EqualTo(expected).Within(tolerance), $"{length} tokens, head {head}");
            }
        }
    }

    private sealed class Recorder(int window) : KvPolicy
    {
        public override string Name => "recorder";

        public override int QueryWindow => window;

        public float[] Weights { get; private set; } = [];

        public int Counted { get; private set; }

        public override void Evict(KvStep step)
        {
            Weights = step.SumWeights(out int counted).ToArray<float>();
            Counted = counted;
        }
    }

    private sealed class Run : IDisposable
    {
        private readonly Device _device;
        private readonly DataType _type;
        private readonly bool _areTwoValued;
        private readonly List<float[]> _queries = [], _keys = [];
        private readonly Random _random = new(5);

        public Run(string deviceName, KvPolicy policy, DataType type, int codeBits = 0)
        {
            (_device, _type, _areTwoValued) = (TestDevices.Get(deviceName), type, codeBits > 0);
            Session = new KvSession(
                _device, [new KvLayerShape(NumKvHeads, HeadDim, HeadDim)], [NumHeads], policy,
                new KvCacheOptions { PageSize = PageSize, Type = type, CodeBits = codeBits, FullCount = 2 });
        }

        public KvSession Session { get; }

        public int Length => _queries.Count;

        public int Decoded { get; private set; }

        public void Append(int count, KvPhases phase)
        {
            int position = Length;
            Decoded += phase == KvPhases.Decode ? 1 : 0;
            float[] queries = Draw(count, NumHeads, _queries), keys = Draw(count, NumKvHeads, _keys);
            using Tensor query = ToTensor(queries, count, NumHeads), key = ToTensor(keys, count, NumKvHeads);
            using Tensor output = Tensor.Allocate(_device, _type, 1, count, NumHeads, HeadDim);
            Session.Run(0, query, key, key, output, position, phase);
            _device.Synchronize();
        }

        // Softmax over the keys up to the query's own.
        public double[] Weigh(int token, int head)
        {
            var weights = new double[token + 1];
            for (int j = 0; j <= token; j++)
            {
                ReadOnlySpan<float> query = _queries[token].AsSpan(head * HeadDim), key = _keys[j].AsSpan(head / GroupSize * HeadDim);
                for (int c = 0; c < HeadDim; c++)
                    weights[j] += (double)query[c] * key[c] / Math.Sqrt(HeadDim);
                weights[j] = Math.Exp(weights[j]);
            }
            double total = weights.Sum();
            return [.. weights.Select(weight => weight / total)];
        }

        public void Dispose() => Session.Dispose();

        private float[] Draw(int count, int heads, List<float[]> rows)
        {
            const float Element = 255f / 256; // twice as much divided by 15 or 255 is a number of binary16
            bool isTwoValued = _areTwoValued && rows == _keys;
            for (int t = 0; t < count; t++)
            {
                float[] row = [.. Enumerable.Range(0, heads * HeadDim).Select(_ => 4 * _random.NextSingle() - 2)];
                rows.Add(isTwoValued ? Array.ConvertAll(row, x => MathF.CopySign(Element, x)) : row);
            }
            return [.. rows[^count..].SelectMany(row => row)];
        }

        private Tensor ToTensor(float[] values, int count, int heads) => _type == DataType.Float32
            ? Tensor.From<float>(_device, values, 1, count, heads, HeadDim)
            : Tensor.From<Half>(_device, Array.ConvertAll(values, x => (Half)x), 1, count, heads, HeadDim);
    }
}
