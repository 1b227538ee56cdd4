using KernelEngine.Models;
using KernelEngine.Models.Heads;
using KernelEngine.Models.Induction;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Heads;

/// <summary>MoA's profile and plan: influences against what happens when a weight is taken away, plans against all there are.</summary>
public sealed class MoaTests
{
    private const string Stories = "tinyllamas-stories260K/stories260K.bin";

    // A loss that is linear in a row of attention changes by just the influence when one weight goes and the rest is scaled up to 1.
    [TestCase(1, 0)]
    [TestCase(9, 0)]
    [TestCase(9, 40)] // one weight is all but 1e-17
    public void AnInfluenceIsWhatTheLossChangesBy(int length, double peak)
    {
        var random = new Random(length);
        double[] scores = [.. Enumerable.Range(0, length).Select(j => random.NextDouble() + (j == 3 ? peak : 0))];
        double[] gradients = [.. scores.Select(_ => random.NextDouble() - 0.5)], influence = new double[length];
        double[] weights = Softmax(scores, without: -1);
        MoaProfile.Influence(weights, gradients, new (double, double)[length + 1], influence);
        for (int j = 0; j < length; j++)
        {
            double[] rest = Softmax(scores, j);
            double change = length == 1 ? gradients[0] : 0;
            for (int n = 0; n < length && length > 1; n++)
                change += n == j ? -weights[n] * gradients[n] : weights[j] * rest[n] * gradients[n];
            Assert.That(influence[j], Is.EqualTo(Math.Abs(change)).Within(1e-13 * (1e-3 + Math.Abs(change))), $"key {j}");
        }
    }

    // The gradient of a real model's loss with respect to what its heads give, along random directions, against the difference of losses.
    [Test]
    public void GradientsOfAttentionAreThoseOfTheLoss()
    {
        const float Step = 0.01f;
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        int[] tokens = HeadIdentificationTests.ReadIds(Stories)[..40];
        using var pass = new GradientPass(model.Description, model.Weights, tokens);
        pass.Forward();
        var random = new Random(1);
        float[] upstream = Draw(pass.Length * model.Description.HiddenSize);
        var gradients = new Dictionary<int, float[]>();
        pass.Backward(upstream, (layer, grad) => gradients.Add(layer, [.. grad]));
        Assert.That(gradients, Has.Count.EqualTo(model.Description.Layers.Length));
        foreach ((int layer, float[] gradient) in gradients)
        {
            float[] direction = Draw(gradient.Length);
            double slope = gradient.Zip(direction, (g, d) => (double)g * d).Sum();
            double difference = (Value(layer, direction, Step) - Value(layer, direction, -Step)) / (2 * Step);
            double scale = Math.Sqrt(gradient.Sum(g => (double)g * g) / 12); // what the slope is of the order of
            Assert.That(slope, Is.EqualTo(difference).Within(3e-3 * scale), $"layer {layer}");
        }

        // upstream · final hidden states, with a layer's attention output moved.
        double Value(int layer, float[] direction, float step)
        {
            pass.Forward((index, values) =>
            {
                for (int i = 0; i < values.Length && index == layer; i++)
                    values[i] += step * direction[i];
            });
            return pass.Final.ToArray<float>().Zip(upstream, (x, u) => (double)x * u).Sum();
        }

        float[] Draw(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
    }

    // On the graded model, whose attention is not one-hot: heads that write to scratch alone have no influence at all, the induction head
    // and the one that fetches the previous token have.
    [Test]
    public void OnlyHeadsThatTheAnswerIsMadeOfHaveInfluence()
    {
        MoaProfile profile = Profile(128, blockSize: 16);
        foreach ((int layer, int head) in HeadScoresTests.Heads(profile.Total))
            Assert.That(profile.Total[layer, head], head == 0 ? Is.Positive : Is.Zero, $"layer {layer}, head {head}");
    }

    // The best of all plans of two layers of six heads, against the planner's: within the density, and hardly above the least loss.
    [Test]
    public void PlansAreNearlyTheBest()
    {
        const int Draws = 12;
        var options = new MoaPlanOptions { AlphaStep = 2, Density = 0.6, LeastUse = 0 };
        double excess = 0;
        int exact = 0;
        for (int draw = 0; draw < Draws; draw++)
        {
            var random = new Random(draw);
            MoaProfile profile = Random(random, length: 10, numHeads: 6);
            (double loss, double density) = Judge(MoaPlanner.Plan([profile], 6, options), profile);
            Assert.That(density, Is.LessThanOrEqualTo(0.6 + 1e-9));
            double best = Best(profile, 0.6);
            Assert.That(loss, Is.GreaterThanOrEqualTo(best - 1e-12));
            excess += loss / best - 1;
            exact += loss <= best + 1e-9 ? 1 : 0;
        }
        TestContext.Out.WriteLine($"{exact} of {Draws} the best, {excess / Draws:0.000} above it on average");
        Assert.That(excess / Draws, Is.LessThan(0.03));
    }

    // At two lengths at once, with the least use: no more than two rules a layer, both densities within the bound, one near to it.
    [Test]
    public void PlansKeepToTheDensityAtEveryLength()
    {
        var random = new Random(4);
        MoaProfile[] profiles = [Random(random, 8, 4), Random(random, 16, 4)];
        MoaRules rules = MoaPlanner.Plan(profiles, 8, new MoaPlanOptions { AlphaStep = 2, Density = 0.5 }, Random(random, 24, 4));
        double[] densities = [.. profiles.Select(profile => Judge(rules, profile).Density)];
        Assert.That(densities, Has.All.LessThanOrEqualTo(0.5 + 1e-9).And.Some.GreaterThanOrEqualTo(0.45));
        foreach ((int layer, int head) in HeadScoresTests.Heads(rules.Alphas))
        {
            Assert.That(rules.Alphas.NumHeads, Is.EqualTo(8));
            Assert.That(rules.Span(layer, head, 16), Is.EqualTo(rules.Span(layer, head / 2 * 2, 16)), "of a group");
        }
        for (int layer = 0; layer < 2; layer++)
        {
            var kinds = Enumerable.Range(0, 8).Select(head => (rules.Alphas[layer, head], rules.Betas[layer, head])).Distinct();
            Assert.That(kinds.Count(), Is.LessThanOrEqualTo(2));
        }
    }

    [Test]
    public void CandidatesArePublishedOnes()
    {
        var rules = MoaPlanner.Candidates([2048, 4096, 8192], 16384);
        Assert.That(rules, Does.Contain((0, 0.125)).And.Contain((0, 1.0)).And.Contain((-1024, 1.0)).And.Contain((1024, 0.0)));
        Assert.That(rules, Does.Not.Contain((1024, 1.0)).And.Not.Contain((-1024, 0.5)).And.Not.Contain((0, 0.0)));
        Assert.That(() => MoaPlanner.Candidates([4096, 2048], 16384), Throws.ArgumentException);
        Assert.That(() => MoaPlanner.Plan([Random(new Random(1), 4, 1)], 1, new MoaPlanOptions { AlphaStep = 2, Density = 0.2 }),
            Throws.ArgumentException.With.Message.Contains("density"));
    }

    [Test]
    public void SavedRulesAreReadBackExactly()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "rules.json");
        MoaRules rules = MoaRules.Load(TestData.PathOf("head-patterns/moa/lmsys--vicuna-7b-v1.5-16k.moa_alpha_beta.json"));
        rules.Save(path);
        MoaRules read = MoaRules.Load(path);
        foreach ((int layer, int head) in HeadScoresTests.Heads(rules.Alphas))
        {
            Assert.That(read.Alphas[layer, head], Is.EqualTo(rules.Alphas[layer, head]));
            Assert.That(read.Betas[layer, head], Is.EqualTo(rules.Betas[layer, head]));
        }
    }

    // One rule for all heads is StreamingLLM with 64 sinks, as the published uniform rules are meant.
    [Test]
    public void EqualSpansAreStreaming()
    {
        MoaRules rules = MoaRules.Load(TestData.PathOf("head-patterns/moa/lmsys--vicuna-7b-v1.5-16k.streamingllm_alpha_beta.json"));
        Assert.That(HeadScoresTests.Heads(rules.Alphas).Select(h => rules.Span(h.Layer, h.Head, 512)).Distinct().Count(), Is.EqualTo(1));
        var model = new InductionModel(InductionModelOptions.Graded);
        using ModelWeights weights = ModelWeights.Load(ModelFixture.GetDevice("cpu"), model.Description, model);
        int[] tokens = [.. new NeedleTask(300, 0.5, 3).Context];
        float[][] logits = [.. ((KvPolicy[])[new MixtureOfSpans((_, _) => 150, 512), new StreamingLlm(192, 64)]).Select(policy =>
        {
            using var runner = new ModelRunner(model.Description, weights, new RunnerOptions { Policy = policy });
            runner.Prefill(tokens.AsSpan(0, 280));
            foreach (int token in tokens[280..])
                runner.Decode(token);
            return runner.GetLogits();
        })];
        Assert.That(logits[0], Is.EqualTo(logits[1]), "spans are whole blocks of 64: 150 is 192");
    }

    internal static MoaProfile Profile(int length, int blockSize)
    {
        var model = new InductionModel(InductionModelOptions.Graded);
        using ModelWeights weights = ModelWeights.Load(ModelFixture.GetDevice("cpu"), model.Description, model);
        TailText[] texts = [.. new[] { 0.1, 0.5, 0.9 }.Select((depth, i) =>
        {
            var task = new NeedleTask(length - 5, depth, (ulong)i + 1);
            return new TailText((int[])[.. task.Context, task.Question, .. task.Answer], task.Context.Length + 1);
        })];
        return MoaProfile.Measure(model.Description, weights, texts, blockSize);
    }

    private static MoaProfile Random(Random random, int length, int numHeads)
    {
        HeadScores[] influence = [.. Enumerable.Range(0, length).Select(
            _ => new HeadScores(2, numHeads).Map(_ => Math.Pow(random.NextDouble(), 3)))];
        return new MoaProfile(length, 1, influence, new HeadScores(2, numHeads));
    }

    // The loss of the rules and their mean density, by the definitions.
    private static (double Loss, double Density) Judge(MoaRules rules, MoaProfile profile)
    {
        HeadScores spans = rules.KvSpans(profile.Total.NumHeads, profile.Length);
        double loss = 0, density = 0;
        foreach ((int layer, int head) in HeadScoresTests.Heads(spans))
        {
            int recent = Math.Clamp((int)(spans[layer, head] / profile.BlockSize), 1, profile.NumBlocks);
            loss += profile.Loss(layer, head, recent);
            density += Math.Min(recent + 1.0, profile.NumBlocks) / profile.NumBlocks;
        }
        return (loss, density / (spans.NumLayers * spans.NumHeads));
    }

    // The least loss of all plans: every pair of spans for each layer, either of them for each head.
    private static double Best(MoaProfile profile, double density)
    {
        int blocks = profile.NumBlocks, heads = profile.Total.NumHeads;
        int[] spans = [.. MoaPlanner.Candidates([profile.Length], 2 * profile.Length, 2)
            .Select(rule => Math.Clamp((int)(rule.Alpha + rule.Beta * profile.Length), 1, blocks)).Distinct()];
        List<(double Density, double Loss)>[] layers = [.. Enumerable.Range(0, 2).Select(layer =>
        {
            var plans = new List<(double, double)>();
            foreach (int a in spans)
            {
                foreach (int b in spans)
                {
                    for (int bits = 0; bits < 1 << heads; bits++)
                    {
                        int[] chosen = [.. Enumerable.Range(0, heads).Select(head => (bits >> head & 1) == 0 ? a : b)];
                        plans.Add((
                            chosen.Sum(span => Math.Min(span + 1.0, blocks) / blocks),
                            chosen.Select((span, head) => profile.Loss(layer, head, span)).Sum()));
                    }
                }
            }
            return Front(plans);
        })];
        return (from one in layers[0]
                from other in layers[1]
                where one.Density + other.Density <= 2 * heads * density + 1e-9
                select one.Loss + other.Loss).Min();

        // Those that lose less than every one that is as dense or less.
        static List<(double Density, double Loss)> Front(List<(double Density, double Loss)> plans)
        {
            var front = new List<(double Density, double Loss)>();
            foreach ((double Density, double Loss) plan in plans.Order())
            {
                if (front.Count == 0 || plan.Loss < front[^1].Loss)
                    front.Add(plan);
            }
            return front;
        }
    }

    private static double[] Softmax(double[] scores, int without)
    {
        double[] weights = [.. scores.Select((score, j) => j == without ? 0 : Math.Exp(score - scores.Max()))];
        double sum = weights.Order().Sum();
        return [.. weights.Select(weight => weight / sum)];
    }
}
