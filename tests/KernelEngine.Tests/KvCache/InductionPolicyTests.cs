using KernelEngine.Models;
using KernelEngine.Models.Evaluation;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Heads;
using KernelEngine.Models.Induction;
using KernelEngine.Tests.Cli;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.KvCache;

/// <summary>Policies on heads of the induction model whose attention is known in closed form.</summary>
public sealed class InductionPolicyTests
{
    private const int Length = 512, HeadDim = 64, UniformHead = 3;

    // The uniform head weighs all slots alike, and its values are orthonormal codes of the tokens: its output is how often each token
    // occurs. One slot for the 444 dropped ones, which weighs as many, loses nothing; what others lose follows from the counts.
    [TestCase(RazorCompensation.Count)]
    [TestCase(RazorCompensation.One)]
    [TestCase(RazorCompensation.Drop)]
    public void TheMeanOfWhatIsDroppedStandsForAllOfIt(RazorCompensation compensation)
    {
        const int Sinks = 4, Recent = 64;
        var policy = new RazorAttention(NoHead, Recent, ratio: int.MaxValue, Sinks) { Compensation = compensation, Applies = IsUniform, Phases = KvPhases.PrefillEnd };
        (double measured, KvCell cell) = CompareOutputs(policy);
        int[] tokens = [.. Prompt, Next], dropped = tokens[Sinks..(Length - Recent)];
        double weight = compensation switch { RazorCompensation.Count => dropped.Length, RazorCompensation.One => 1, _ => 0 };
        double difference = 0, norm = 0;
        for (int token = 0; token < InductionModel.VocabSize; token++)
        {
            double all = tokens.Count(t => t == token), gone = dropped.Count(t => t == token);
            double expected = all / tokens.Length, left = (all - gone + weight * gone / dropped.Length) / (tokens.Length - dropped.Length + weight);
            (difference, norm) = (difference + Math.Pow(left - expected, 2), norm + expected * expected);
        }
        double error = Math.Sqrt(difference / norm);
        Assert.That(error, compensation == RazorCompensation.Count ? Is.LessThan(1e-12) : Is.GreaterThan(0.3));
        Assert.That(measured, Is.EqualTo(error).Within(3e-6), "ln and powers of about 9 are good to 1e-6 in float32");
        Assert.That(cell.Length, Is.EqualTo(Sinks + Recent + (compensation == RazorCompensation.Drop ? 0 : 1)));
    }

    [Test]
    public void OneDroppedTokenStandsForItself()
    {
        var policy = new RazorAttention(NoHead, leastRecent: Length - 5, ratio: int.MaxValue, sinkCount: 4) { Applies = IsUniform, Phases = KvPhases.PrefillEnd };
        (double measured, KvCell cell) = CompareOutputs(policy);
        Assert.That(measured, Is.LessThan(1e-6));
        Assert.That(cell.Length, Is.EqualTo(Length));
        Assert.That(cell.Biases[4], Is.Zero);
    }

    // Equal slots merge without loss when the one that is left weighs as many as it stands for. There are as many slots then as tokens.
    [TestCase(true, 0, 1e-6)]
    [TestCase(false, 0.48, 0.1)]
    public void EqualSlotsMergeIntoOne(bool countsMembers, double error, double tolerance)
    {
        var policy = new MergeEqualTokens(countsMembers) { Applies = IsUniform };
        (double measured, KvCell cell) = CompareOutputs(policy);
        Assert.That(measured, Is.EqualTo(error).Within(tolerance));
        Assert.That(cell.Length, Is.EqualTo(policy.DistinctTokens));
        Assert.That(cell.Biases.ToArray().Sum(bias => Math.Exp(bias)), Is.EqualTo(countsMembers ? Length : cell.Length).Within(1e-3));
    }

    // A head that learnt which tokens are values keeps those five: two first slots, five of the needle, and the last ones.
    [TestCase(0.1)]
    [TestCase(0.6)]
    public void ATrainedHeadKeepsTheNeedleWithTheSmallestBudget(double depth)
    {
        const int Answers = 5, Stabilizers = 8;
        Device device = ModelFixture.GetDevice("cpu");
        using Tensor nothing = Tensor.Allocate(device, DataType.Float32, 1, 12 * HeadDim), first = ValueDetector(device);
        using Tensor second = Tensor.From<float>(device, [1, 1, 1, 1], 4, 1);
        using var idle = new RetainingNetwork(nothing, second);
        using var network = new RetainingNetwork(first, second);
        var policy = new RetainingHeads([idle, network], budget: Stabilizers + Answers + 2, Stabilizers, localCount: 1)
        {
            Applies = (layer, head) => (layer, head) == (1, 0),
            SinkCount = 2,
            Phases = KvPhases.PrefillChunk | KvPhases.PrefillEnd,
        };
        using var needles = new NeedleEvaluation(device, Length);
        for (int seed = 1; seed <= 4; seed++)
        {
            var task = new NeedleTask(Length, depth, (ulong)seed, Answers);
            Assert.That(needles.RunOne(policy, task).IsExact, Is.True, $"seed {seed}");
        }
    }

    // The same networks from a file, named as the published ones; what is missing is named.
    [Test]
    public void TrainedHeadsComeFromAFile()
    {
        Device device = ModelFixture.GetDevice("cpu");
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "heads.safetensors");
        using Tensor detector = ValueDetector(device);
        float[][] first = [new float[12 * HeadDim], detector.ToArray<float>()];
        var tensors = new List<TensorToWrite>();
        for (int layer = 0; layer < 2; layer++)
        {
            Add($"model.layers.{layer}.self_attn.fc1.weight", first[layer], 1, 12 * HeadDim);
            Add($"model.layers.{layer}.self_attn.fc2.weight", [1, 1, 1, 1], 4, 1);
        }
        SafetensorsWriter.Write(path, tensors);
        using RetainingNetworks networks = RetainingNetworks.Load(device, path);
        Assert.That(networks.Layers, Has.Count.EqualTo(2));
        var policy = new RetainingHeads(networks.Layers, budget: 15, stabilizers: 8, localCount: 1)
        {
            Applies = (layer, head) => (layer, head) == (1, 0),
            SinkCount = 2,
        };
        using var needles = new NeedleEvaluation(device, Length);
        Assert.That(needles.RunOne(policy, new NeedleTask(Length, 0.1, 2)).IsExact, Is.True);
        string[] evict = ["evict", "--policies", "locret", "streaming", "--budgets", "32", "--length", "200", "--seeds", "2", "--json"];
        CommandRun run = CommandRun.Of([.. evict, "--networks", path]), without = CommandRun.Of(evict);
        Assert.That(run.Json[1].GetProperty("policy").GetString(), Is.EqualTo("locret"), run.Error);
        IEnumerable<double> accuracy = run.Json[1].GetProperty("needleAccuracy").EnumerateObject().Select(pair => pair.Value.GetDouble());
        Assert.That(accuracy, Has.All.EqualTo(1.0));
        string?[] measured = [.. without.Json.EnumerateArray().Select(row => row.GetProperty("policy").GetString())];
        Assert.That(measured, Is.EqualTo(new[] { "full", "streaming" }));
        Assert.That(without.Error, Does.Contain("locret is left out"));
        SafetensorsWriter.Write(path, tensors[..^1]);
        Assert.That(
            () => RetainingNetworks.Load(device, path),
            Throws.TypeOf<ModelFormatException>().With.Message.Contains("layers.1.self_attn.fc2.weight"));

        void Add(string name, float[] values, params ReadOnlySpan<long> shape) =>
            tensors.Add(new TensorToWrite(name, StoredTensor.FromValues(name, values, shape), DataType.Float32));
    }

    // A prompt read in chunks with a bounded cache: the score of a token does not depend on the chunks.
    [TestCase(64)]
    [TestCase(100)]
    [TestCase(512)]
    public void ATrainedHeadKeepsTheSameWhateverTheChunks(int chunkSize)
    {
        Device device = ModelFixture.GetDevice("cpu");
        using Tensor nothing = Tensor.Allocate(device, DataType.Float32, 1, 12 * HeadDim), first = ValueDetector(device);
        using Tensor second = Tensor.From<float>(device, [1, 1, 1, 1], 4, 1);
        using var idle = new RetainingNetwork(nothing, second);
        using var network = new RetainingNetwork(first, second);
        var policy = new RetainingHeads([idle, network], budget: 20, 8, localCount: 1)
        {
            Applies = (layer, head) => (layer, head) == (1, 0),
            SinkCount = 2,
            Phases = KvPhases.PrefillChunk | KvPhases.PrefillEnd,
        };
        var model = new InductionModel();
        using ModelWeights weights = ModelWeights.Load(device, model.Description, model);
        using var runner = new ModelRunner(model.Description, weights, new RunnerOptions { Policy = policy, ChunkSize = chunkSize });
        var task = new NeedleTask(Length, 0.4, 3);
        Assert.That(task.Run(runner).IsExact, Is.True);
        int[] kept = runner.Session!.Cache.Layers[1].Cells[0].Positions.ToArray();
        Assert.That(kept, Is.SupersetOf(Enumerable.Range(task.NeedlePosition + 1, 5)));
        Assert.That(runner.Session.Cache.Layers[1].Cells[1].Length, Is.EqualTo(runner.Position), "another head keeps all");
    }

    // The second query head of a group attends to everything alike: the mean over the group halves the weight of a match.
    [Test]
    public void TheMeanOverAGroupHalvesWhatOneHeadPointsAt()
    {
        var options = new InductionModelOptions { GroupSize = 2 };
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"), Length, options);
        var task = new NeedleTask(Length, 0.5, 2);
        var byAggregate = new Dictionary<KvAggregate, float[]>();
        foreach (KvAggregate aggregate in (KvAggregate[])[KvAggregate.Mean, KvAggregate.Max])
        {
            var policy = new RecordScores(aggregate);
            needles.RunOne(policy, task);
            byAggregate.Add(aggregate, policy.Scores);
        }
        int needle = task.NeedlePosition + 1;
        float mean = byAggregate[KvAggregate.Mean][needle], max = byAggregate[KvAggregate.Max][needle];
        Assert.That(max, Is.EqualTo(1).Within(0.01), "the question points at the first value alone");
        Assert.That(mean, Is.EqualTo(max / 2).Within(0.01));
        Assert.That(Array.IndexOf(byAggregate[KvAggregate.Mean], byAggregate[KvAggregate.Mean].Max()), Is.EqualTo(needle));
        Assert.That(Array.IndexOf(byAggregate[KvAggregate.Max], byAggregate[KvAggregate.Max].Max()), Is.EqualTo(needle));
    }

    // All heads see 4 first and 64 last tokens: a query finds what lies at most 63 before it, and else answers that there is nothing.
    [TestCase(0.95, 5)]
    [TestCase(0.85, 0)]
    [TestCase(0.3, 0)]
    public void AWindowFindsWhatLiesInIt(double depth, int found)
    {
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"), Length);
        var task = new NeedleTask(Length, depth, 1);
        NeedleResult result = needles.RunOne(new StreamingLlm(68, 4) { Phases = KvPhases.PrefillEnd | KvPhases.Decode }, task, questionInPrefill: false);
        Assert.That(result.CorrectTokens, Is.EqualTo(found));
        Assert.That(result.NotFoundShare, Is.EqualTo(found == 0 ? 1 : 0));
    }

    // The first answer is asked for at position 511 and must be in slot 448 at the earliest; each next a position later, of the next slot.
    [TestCase(447, 5)]
    [TestCase(446, 0)]
    public void AWindowEndsWhereItMust(int needlePosition, int found)
    {
        const double Fillers = Length - 2 - 6 - 1;
        var task = new NeedleTask(Length, (needlePosition - 2 + 0.5) / Fillers, 1);
        Assert.That(task.NeedlePosition, Is.EqualTo(needlePosition));
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"), Length);
        var policy = new StreamingLlm(68, 4) { Phases = KvPhases.PrefillEnd | KvPhases.Decode };
        Assert.That(needles.RunOne(policy, task, questionInPrefill: false).CorrectTokens, Is.EqualTo(found));
    }

    // Why of equal scores the later slots stay: weights of the last query are 0 but for its match, and a rule that keeps the earlier of
    // equals would make a policy that forgets the needle look perfect.
    [TestCase(false, 0.2)]
    [TestCase(true, 1)]
    public void ARuleForTiesCanHideWhatAPolicyLoses(bool keepsEarlier, double accuracy)
    {
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"), Length);
        var policy = new LastQueryWeights(256, keepsEarlier) { Phases = KvPhases.PrefillEnd };
        Assert.That(needles.Run(_ => policy, depth: 0.3).Accuracy, Is.EqualTo(accuracy).Within(1e-9));
    }

    // Storage of the cache in fewer bits: a gap of 43 between scores of up to 1280 must be left.
    [TestCase(DataType.Float16)]
    [TestCase(DataType.BFloat16)]
    [TestCase(DataType.Int8)]
    public void NeedlesAreFoundInNarrowCaches(DataType type)
    {
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"), Length);
        var options = new RunnerOptions { KvType = type };
        Func<int, int, bool> isRetrieval = (layer, head) => (layer, head) == (1, 0);
        foreach (KvPolicy policy in (KvPolicy[])
            [
                new FullCache(),
                new DuoAttention(isRetrieval, 4, 8),
                new RazorAttention(isRetrieval, 64, int.MaxValue)
                {
                    Compensation = type == DataType.Int8 ? RazorCompensation.Drop : RazorCompensation.Count, // slots of 8 bits do not merge
                },
                new SnapKv(new UniformBudget(64), 16, 9) { Phases = KvPhases.PrefillEnd, Applies = isRetrieval },
            ])
        {
            Assert.That(needles.Run(_ => policy, 0.3, seeds: 3, runner: options).Accuracy, Is.EqualTo(1), policy.Name);
        }
    }

    [Test]
    public void StreamingHeadsChangeNoLogitWhenTheRetrievalHeadIsWhole()
    {
        var model = new InductionModel();
        using ModelWeights weights = ModelWeights.Load(ModelFixture.GetDevice("cpu"), model.Description, model);
        var task = new NeedleTask(Length, 0.4, 7);
        float[][] logits = [.. ((KvPolicy[])[new FullCache(), new DuoAttention((layer, head) => (layer, head) == (1, 0), 4, 8)]).Select(policy =>
        {
            using var runner = new ModelRunner(model.Description, weights, new RunnerOptions { Policy = policy });
            runner.Prefill([.. task.Context, task.Question]);
            foreach (int token in task.Answer)
                runner.Decode(token);
            return runner.GetLogits();
        })];
        Assert.That(logits[1], Is.EqualTo(logits[0]));
    }

    private const int Next = 1;

    private static int[] Prompt { get; } = [.. new NeedleTask(Length + 1, 0.5, 11).Context];

    private static bool NoHead(int layer, int head) => false;

    private static bool IsUniform(int layer, int head) => (layer, head) == (1, UniformHead);

    // W1 · [q; k; v] = Σ over value tokens of their code · v of head 0, which copies the token's code: 1 for a value token, 0 for others.
    private static Tensor ValueDetector(Device device)
    {
        const int FirstValue = 48;
        var weights = new float[12 * HeadDim];
        for (int token = FirstValue; token < InductionModel.VocabSize; token++)
        {
            for (int i = 0; i < HeadDim; i++)
                weights[8 * HeadDim + i] += 10 * InductionModel.Code(token, i);
        }
        return Tensor.From<float>(device, weights, 1, weights.Length);
    }

    // The relative error of the uniform head's output at the first token after the prompt.
    private static (double Error, KvCell Cell) CompareOutputs(KvPolicy policy)
    {
        var model = new InductionModel();
        Device device = ModelFixture.GetDevice("cpu");
        using ModelWeights weights = ModelWeights.Load(device, model.Description, model);
        float[] expected = Output(new FullCache(), out _), actual = Output(policy, out KvCell cell);
        double difference = 0, norm = 0;
        for (int i = 0; i < HeadDim; i++)
        {
            difference += Math.Pow(actual[i] - expected[i], 2);
            norm += Math.Pow(expected[i], 2);
        }
        return (Math.Sqrt(difference / norm), cell);

        float[] Output(KvPolicy keeps, out KvCell uniform)
        {
            using var runner = new ModelRunner(model.Description, weights, new RunnerOptions { Policy = keeps });
            if (keeps is MergeEqualTokens merge)
                merge.Tokens = Prompt;
            runner.Prefill(Prompt);
            uniform = runner.Session!.Cache.Layers[1].Cells[UniformHead];
            var output = Array.Empty<float>();
            runner.Session.Attended = (layer, rows) => output = layer == 1 ? rows.ToArray<float>()[(UniformHead * HeadDim)..] : output;
            // The new token is in the cache by then: it is dropped from what was counted.
            int length = uniform.Length;
            float[] biases = uniform.Biases.ToArray();
            runner.Decode(Next);
            Assert.That(uniform.Length, Is.GreaterThanOrEqualTo(length));
            Assert.That(uniform.Biases[..length].ToArray(), Is.EqualTo(biases));
            runner.Rewind(Length);
            return output;
        }
    }

    // Merges slots of the same token, at the end of a prompt.
    private sealed class MergeEqualTokens(bool countsMembers) : KvPolicy
    {
        public override string Name => "equal";

        public int[] Tokens { get; set; } = [];

        public int DistinctTokens => Tokens.Distinct().Count();

        public override void Evict(KvStep step)
        {
            if (step.Phase != KvPhases.PrefillEnd || step.Layer.Index != 1)
                return;
            int capacity = step.Layer.Capacity, first = UniformHead * capacity;
            var targets = new int[4 * capacity];
            var weights = new float[targets.Length];
            Array.Fill(targets, -1);
            Array.Fill(weights, 1f);
            for (int slot = 0; slot < Length; slot++)
            {
                int last = Array.LastIndexOf(Tokens, Tokens[slot]);
                targets[first + slot] = last == slot ? -1 : last;
            }
            step.Layer.Merge(targets, weights);
            int[] kept = [.. Enumerable.Range(0, Length).Where(slot => targets[first + slot] < 0)];
            for (int i = 0; countsMembers && i < kept.Length; i++)
                step.Layer.SetBias(UniformHead, kept[i], MathF.Log(Tokens.Count(token => token == Tokens[kept[i]])));
            step.Layer.Keep([null, null, null, kept]);
        }
    }

    // TOVA for one head, with either rule for ties.
    private sealed class LastQueryWeights(int budget, bool keepsEarlier) : KvPolicy
    {
        public override string Name => "last";

        public override int QueryWindow => 1;

        public override void Evict(KvStep step)
        {
            if (step.Layer.Index != 1)
                return;
            KvCells.Score(step.SumWeights(out _), step.Layer.Lengths.Join(0), step.Scores, KvScoreOptions.Default);
            float[] scores = step.ReadScores()[..step.Layer.Cells[0].Length];
            scores[^1] = float.PositiveInfinity;
            IEnumerable<int> slots = Enumerable.Range(0, scores.Length);
            slots = (keepsEarlier ? slots : slots.Reverse()).OrderByDescending(slot => scores[slot]).Take(budget).Order();
            step.Layer.Keep([[.. slots], null, null, null]);
        }
    }

    // What the retrieval head's last query gives each slot.
    private sealed class RecordScores(KvAggregate aggregate) : KvPolicy
    {
        public override string Name => "record";

        public override int QueryWindow => 1;

        public float[] Scores { get; private set; } = [];

        public override void Evict(KvStep step)
        {
            if (step.Phase != KvPhases.PrefillEnd || step.Layer.Index != 1)
                return;
            TensorView weights = step.SumWeights(out _);
            KvCells.Score(weights, step.Layer.Lengths.Join(0), step.Scores, new KvScoreOptions { Aggregate = aggregate });
            Scores = step.ReadScores()[..Length];
        }
    }
}
