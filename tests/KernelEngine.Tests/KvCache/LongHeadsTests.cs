using KernelEngine.Models;
using KernelEngine.Models.Induction;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.KvCache;

/// <summary>LongHeads against its definition written out: chunks, representatives, choice, and positions within what is seen.</summary>
public sealed class LongHeadsTests
{
    private const int NumKvHeads = 2, HeadDim = 16, RotaryDim = 8, PageSize = 4, ChunkSize = 8, Chunks = 5, Length = 100, PromptLength = 70;

    [TestCase("cpu", 1, 0)]
    [TestCase("cpu", 2, 0)]
    [TestCase("cpu", 4, 8)]
    [TestCase("reference", 2, 0)]
    [TestCase("opencl", 2, 0, Category = "OpenCL")]
    public void ANewTokenSeesTheChunksMostLikeItsQuery(string deviceName, int groupSize, int codeBits)
    {
        using var text = new Text(deviceName, groupSize, codeBits);
        text.Append(30, KvPhases.PrefillChunk);
        text.Append(PromptLength - 30, KvPhases.PrefillEnd);
        int differing = 0;
        while (text.Position < Length)
        {
            int[][] expected = text.ChooseChunks();
            float[] output = text.Append(1, KvPhases.Decode);
            Assert.That(text.Seen, Is.EqualTo(expected.Select(text.PagesOf).ToArray()), $"token {text.Position}");
            Assert.That(output, Is.EqualTo(text.Attend(expected)).Within(codeBits > 0 ? 0.02 : 2e-5), $"token {text.Position}");
            differing += expected[0].SequenceEqual(expected[1]) ? 0 : 1;
        }
        Assert.That(differing, Is.GreaterThan(5), "heads choose for themselves");
    }

    // A fork goes on as the original does. Tokens that come again after a truncation within the last chunk change nothing; a chunk that
    // is cut is represented by what comes after.
    [Test]
    public void RepresentativesFollowForksAndTruncations()
    {
        const int Forked = PromptLength + 4, Cut = 79;
        using var text = new Text("cpu", 2, 0);
        text.Append(PromptLength, KvPhases.PrefillEnd);
        text.Append(Forked - PromptLength, KvPhases.Decode, oneByOne: true);
        using KvSession fork = text.Session.Fork();
        float[] expected = text.Append(6, KvPhases.Decode, oneByOne: true);
        text.Use(fork);
        Assert.That(text.Append(6, KvPhases.Decode, Forked, oneByOne: true), Is.EqualTo(expected));
        fork.Truncate(Cut);
        float[] last = text.Append(Length - Cut, KvPhases.Decode, Cut, oneByOne: true);
        fork.Truncate(Length - 2);
        Assert.That(text.Append(2, KvPhases.Decode, Length - 2, oneByOne: true), Is.EqualTo(last));
    }

    // An answer is found exactly when it lies in what is seen, else "nothing" is the answer, as the first chunk says. With chunks of 16
    // tokens, of which a token sees no other than the first and the last, one other, or five others of thirty.
    [TestCase(48, 0)]
    [TestCase(64, null)]
    [TestCase(128, 40)]
    public void AnAnswerIsFoundWhenItsChunkIsSeen(int length, int? found)
    {
        Device device = ModelFixture.GetDevice("cpu");
        var model = new InductionModel();
        using ModelWeights weights = ModelWeights.Load(device, model.Description, model);
        using var runner = new ModelRunner(model.Description, weights, new RunnerOptions { Policy = new LongHeads(length), PageSize = 16 });
        int[]? seen = null;
        runner.Session!.Attended = (layer, _) => seen = layer == 1 ? runner.Session.Cache.Layers[1].SeenPages?[0] : seen;
        int hits = 0, asked = 0;
        for (ulong seed = 1; seed <= 8; seed++)
        {
            var task = new NeedleTask(512, 0.1 * seed, seed);
            runner.Reset();
            runner.Prefill(task.Context);
            int token = task.Question;
            for (int i = 0; i < task.Answer.Length; i++, asked++)
            {
                runner.Decode(token);
                token = task.Answer[i];
                bool isSeen = seen!.Contains((task.NeedlePosition + 1 + i) / 16);
                Assert.That(runner.SelectGreedy(), Is.EqualTo(isSeen ? token : 0), $"seed {seed}, answer {i}");
                hits += isSeen ? 1 : 0;
            }
        }
        TestContext.Out.WriteLine($"{hits} of {asked} answers lay in what was seen");
        Assert.That(hits, Is.EqualTo(found ?? hits));
    }

    // A new token needs positions for what it sees alone; a prompt sees everything.
    [Test]
    public void AModelGoesOnBeyondItsPositions()
    {
        const int Positions = 128;
        var model = new InductionModel(new InductionModelOptions { MaxPosition = Positions });
        using ModelWeights weights = ModelWeights.Load(ModelFixture.GetDevice("cpu"), model.Description, model);
        using var runner = new ModelRunner(model.Description, weights, new RunnerOptions { Policy = new LongHeads(64), PageSize = 16 });
        runner.Prefill(new NeedleTask(100, 0.5).Context);
        while (runner.Position < 2 * Positions)
            runner.Decode(1);
        Assert.That(runner.GetLogits(), Has.All.Matches<float>(float.IsFinite));
        Assert.That(() => runner.Prefill([1, 1]), Throws.ArgumentException.With.Message.Contains($"{Positions} positions"));
    }

    [Test]
    public void WhatCannotBeChosenIsRefused()
    {
        Assert.That(() => new LongHeads(0), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => new LongHeads(64, 2), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(
            () => new KvSession(TestDevices.Get("cpu"), [new KvLayerShape(1, 8, 4)], [1], new LongHeads()),
            Throws.TypeOf<NotSupportedException>().With.Message.Contains("8 and 4"));
    }

    // A policy of one's own may see other pages, which must be those of the cell. All but the last are codes.
    [TestCase(1, new[] { 0, 2 }, true)]
    [TestCase(1, new[] { 2 }, true)]
    [TestCase(1, new[] { 0, 1 }, false)]
    [TestCase(1, new[] { 0, 0, 2 }, false)]
    [TestCase(1, new[] { 0, 2, 3 }, false)]
    [TestCase(1, new int[0], false)]
    [TestCase(2, new[] { 0, 2 }, false)]
    public void PagesThatAreSeenAreThoseOfTheCell(int count, int[] pages, bool isRight)
    {
        Device device = TestDevices.Get("cpu");
        using var session = new KvSession(
            device, [new KvLayerShape(1, 4, 4)], [1], new SomePages(pages),
            new KvCacheOptions { PageSize = PageSize, CodeBits = 8, FullCount = 0 });
        const int PromptRows = 2 * PageSize + 1;
        using Tensor prompt = Tensor.Allocate(device, DataType.Float32, 1, PromptRows, 1, 4);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, PromptRows, 1, 4);
        session.Run(0, prompt, prompt, prompt, output, 0, KvPhases.PrefillEnd);
        Assert.That(session.Cache.Layers[0].Cells[0].CodedLength, Is.EqualTo(2 * PageSize));
        TensorView rows = prompt.Slice(1, 0, count), outputs = output.Slice(1, 0, count);
        Action step = () => session.Run(0, rows, rows, rows, outputs, PromptRows, KvPhases.Decode);
        Assert.That(step, isRight ? Throws.Nothing : Throws.ArgumentException.With.Message.Contains("new token"));
        Assert.That(session.Cache.Layers[0].Cells[0].Length, Is.EqualTo(PromptRows + (isRight ? 1 : 0)));
    }

    private sealed class SomePages(int[] pages) : KvPolicy
    {
        public override string Name => "some";

        public override void Observe(KvStep step)
        {
            if (step.Phase == KvPhases.Decode)
                step.See([pages]);
        }

        public override void Evict(KvStep step)
        {
        }
    }

    // One text of random numbers, in a cache and in lists.
    private sealed class Text : IDisposable
    {
        private readonly Device _device;
        private readonly int _groupSize, _numHeads;
        private readonly Tensor _cos, _sin;
        private readonly float[] _query, _key, _value; // [length, numHeads, headDim], unturned; keys and values for each query head
        private readonly float[] _representatives;
        private readonly KvSession _own;

        public Text(string deviceName, int groupSize, int codeBits)
        {
            (_device, _groupSize, _numHeads) = (TestDevices.Get(deviceName), groupSize, NumKvHeads * groupSize);
            RotaryTables tables = RotaryTables.Create(Length, RotaryDim, 10_000);
            _cos = Tensor.From<float>(_device, tables.Cos, Length, RotaryDim / 2);
            _sin = Tensor.From<float>(_device, tables.Sin, Length, RotaryDim / 2);
            var random = new Random(groupSize);
            _query = Draw(1);
            _key = Draw(groupSize);
            _value = Draw(groupSize);
            const int Complete = Length / ChunkSize * ChunkSize;
            _representatives = DynamicPatterns.ChunkRepresentatives(
                Turned(_query), Turned(_key), _value.AsSpan(0, Complete * _numHeads * HeadDim), Complete, _numHeads, ChunkSize);
            Session = _own = new KvSession(
                _device, [new KvLayerShape(NumKvHeads, HeadDim, HeadDim)], [_numHeads], new LongHeads(Chunks * ChunkSize, Chunks),
                new KvCacheOptions { PageSize = PageSize, CodeBits = codeBits, FullCount = 4 });

            float[] Draw(int copies)
            {
                var rows = new float[Length * _numHeads * HeadDim];
                for (int i = 0; i < rows.Length; i++)
                {
                    int head = i / HeadDim % _numHeads;
                    rows[i] = head % copies == 0 ? 4 * random.NextSingle() - 2 : rows[i - HeadDim];
                }
                return rows;
            }

            // The complete chunks, each from position 0 on.
            float[] Turned(float[] rows) => [.. Enumerable.Range(0, Complete).SelectMany(token =>
                Enumerable.Range(0, _numHeads).SelectMany(head => Turn(rows, token, head, token % ChunkSize).Select(x => (float)x)))];
        }

        public KvSession Session { get; private set; }

        public int Position { get; private set; }

        public int[]?[]? Seen { get; private set; }

        public void Use(KvSession session) => Session = session;

        // The output of the last token alone when they come one by one.
        public float[] Append(int count, KvPhases phase, int position = -1, bool oneByOne = false)
        {
            Position = position < 0 ? Position : position;
            Session.Attended = (_, _) => Seen = Session.Cache.Layers[0].SeenPages;
            float[] result = [];
            for (int end = Position + count; Position < end;)
            {
                int rows = oneByOne ? 1 : count;
                using Tensor query = Tensor.From<float>(_device, Rows(_query, rows, 1), 1, rows, _numHeads, HeadDim);
                using Tensor key = Tensor.From<float>(_device, Rows(_key, rows, _groupSize), 1, rows, NumKvHeads, HeadDim);
                using Tensor value = Tensor.From<float>(_device, Rows(_value, rows, _groupSize), 1, rows, NumKvHeads, HeadDim);
                using Tensor output = Tensor.Allocate(_device, DataType.Float32, 1, rows, _numHeads, HeadDim);
                Session.Run(0, query, key, value, output, Position, phase, new KvRotary(_cos, _sin));
                result = output.ToArray<float>();
                Position += rows;
            }
            return result;
        }

        // What the next token sees: for each key/value head the chunks, the one that is not complete among them.
        public int[][] ChooseChunks()
        {
            int complete = (Position + 1) / ChunkSize;
            return [.. Enumerable.Range(0, NumKvHeads).Select(kvHead =>
            {
                int[] others = [.. Enumerable.Range(1, complete - 2).OrderByDescending(chunk =>
                    Enumerable.Range(kvHead * _groupSize, _groupSize).Max(head => Product(chunk, head)))];
                return (int[])[0, .. others.Take(Chunks - 3).Order(), complete - 1, complete];
            })];
        }

        // The pages that have a token.
        public int[] PagesOf(int[] chunks) =>
        [
            .. from chunk in chunks
               from page in Enumerable.Range(chunk * ChunkSize / PageSize, ChunkSize / PageSize)
               where page * PageSize < Position
               select page,
        ];

        // The output of the token appended last.
        public double[] Attend(int[][] chunks) => [.. Enumerable.Range(0, _numHeads).SelectMany(head =>
        {
            int[] tokens = [.. from chunk in chunks[head / _groupSize]
                               from token in Enumerable.Range(chunk * ChunkSize, ChunkSize)
                               where token < Position
                               select token];
            double[] query = Turn(_query, Position - 1, head, tokens.Length - 1);
            double[] weights = [.. tokens.Select((token, i) =>
                Math.Exp(query.Zip(Turn(_key, token, head, i), (x, y) => x * y).Sum() / Math.Sqrt(HeadDim)))];
            double total = weights.Sum();
            return Enumerable.Range(0, HeadDim).Select(i =>
                tokens.Select((token, j) => weights[j] / total * _value[(token * _numHeads + head) * HeadDim + i]).Sum());
        })];

        public void Dispose()
        {
            _own.Dispose();
            _cos.Dispose();
            _sin.Dispose();
        }

        // The next rows, of one head in so many.
        private float[] Rows(float[] all, int rows, int copies) =>
        [
            .. from token in Enumerable.Range(Position, rows)
               from head in Enumerable.Range(0, _numHeads / copies)
               from number in all.Skip((token * _numHeads + head * copies) * HeadDim).Take(HeadDim)
               select number,
        ];

        // The next token's query times a chunk's representative.
        private double Product(int chunk, int head) => Enumerable.Range(0, HeadDim).Sum(i =>
            (double)_query[(Position * _numHeads + head) * HeadDim + i] * _representatives[(chunk * _numHeads + head) * HeadDim + i]);

        private double[] Turn(float[] rows, int token, int head, int position) =>
            RotaryOracle.Turn(rows.AsSpan((token * _numHeads + head) * HeadDim, HeadDim), position, RotaryDim);
    }
}
