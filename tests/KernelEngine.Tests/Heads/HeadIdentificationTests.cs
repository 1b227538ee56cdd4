using System.Text.Json;
using KernelEngine.Models;
using KernelEngine.Models.Heads;
using KernelEngine.Models.Induction;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Heads;

/// <summary>Scores of heads whose part is known exactly, and of real models against a table made without this engine.</summary>
public sealed class HeadIdentificationTests
{
    private const int Bos = InductionModel.BosToken, PrefixLength = 2, SegmentLength = 63;

    // The echo head divides its attention evenly among a token's occurrences, itself among them: in the repeats 1, 2, 3 the earlier
    // ones get 1/2, 2/3, 3/4, on average 23/36. A uniform head gives each of the n tokens up to a query 1/n.
    [TestCase(1)]
    [TestCase(2)]
    public void RepetitionFindsTheInductionHeadAndTheEchoHead(int groupSize)
    {
        int[] segment = [.. Enumerable.Range(1, SegmentLength)];
        new Random(11).Shuffle(segment);
        using Session session = Open(new InductionModelOptions { GroupSize = groupSize });
        int[] text = RepetitionScores.CreateText([Bos, Bos], segment);
        Assert.That(text, Has.Length.EqualTo(PrefixLength + 4 * SegmentLength));
        ModelCapture capture = ModelCapture.Read(session.Model.Description, session.Weights, text);
        HeadScores echo = RepetitionScores.Echo(capture, PrefixLength, SegmentLength);
        HeadScores induction = RepetitionScores.Induction(capture, PrefixLength, SegmentLength);
        double uniform = Enumerable.Range(SegmentLength, 3 * SegmentLength)
            .Average(i => (double)(i / SegmentLength) / (i + PrefixLength + 1));
        Assert.That(uniform, Is.EqualTo(0.012302).Within(5e-7));
        // The query heads of a group beyond the first are uniform.
        double other = groupSize == 1 ? 0 : uniform;
        foreach ((int layer, int head) in HeadScoresTests.Heads(echo))
        {
            (double expectedEcho, double expectedInduction) = (layer, head) switch
            {
                (1, 0) => (other, 0.999999),
                (1, 1) => (23.0 / 36, other),
                (_, 3) => (uniform, uniform),
                _ => (other, other),
            };
            // What is not 0 exactly is below 10^-4: the soft local head's tail.
            double tolerance = layer == 0 && head == 2 ? 5e-5 : 1e-6;
            Assert.That(echo[layer, head], Is.EqualTo(expectedEcho).Within(tolerance), $"echo of layer {layer}, head {head}");
            Assert.That(
                induction[layer, head], Is.EqualTo(expectedInduction).Within(tolerance), $"induction of layer {layer}, head {head}");
        }
        Assert.That(induction.SelectBest(1).IsFull(1, 0), Is.True);
        Assert.That(echo.SelectBest(1).IsFull(1, 1), Is.True);
    }

    [TestCase(1)]
    [TestCase(2)]
    public void OnlyTheInductionHeadRetrieves(int groupSize)
    {
        using Session session = Open(new InductionModelOptions { GroupSize = groupSize });
        using var scorer = new RetrievalScorer(session.Model.Description, session.Weights);
        foreach (double depth in (double[])[0.1, 0.5, 0.9])
        {
            var task = new NeedleTask(256, depth, seed: (ulong)(100 * depth));
            int[] prompt = [.. task.Context, task.Question];
            Assert.That(scorer.Run(new NeedlePrompt(prompt, task.NeedlePosition + 1, task.Answer.Length), task.Answer.Length), Is.True);
        }
        HeadScores scores = scorer.Compute();
        foreach ((int layer, int head) in HeadScoresTests.Heads(scores))
            Assert.That(scores[layer, head], Is.EqualTo((layer, head) == (1, 0) ? 1 : 0).Within(1e-12), $"layer {layer}, head {head}");
    }

    [Test]
    public void AnAnswerWithoutTheNeedleDoesNotCount()
    {
        using Session session = Open(InductionModelOptions.Default);
        using var scorer = new RetrievalScorer(session.Model.Description, session.Weights);
        Assert.That(scorer.Run(new NeedlePrompt(new[] { Bos, Bos, 40, 50, 51, 5, 41 }, 3, 2), maxTokens: 2), Is.False);
        Assert.That(scorer.Compute, Throws.InvalidOperationException);
        Assert.That(() => scorer.Run(new NeedlePrompt(new[] { Bos, Bos, 40 }, 2, 2)), Throws.ArgumentException);
    }

    // The retrieval head must look far, so that of the streaming heads' keys little is left to it; local and sink heads spend all there.
    [Test]
    public void HeadsThatLookNearbyHaveAllTheirMassThere()
    {
        using Session session = Open(InductionModelOptions.Default);
        var task = new NeedleTask(256, 0.5);
        HeadScores mass = StreamingMass.Measure(
            ModelCapture.Read(session.Model.Description, session.Weights, task.Context), sinkCount: 2, recentCount: 2);
        Assert.That(mass[0, 0], Is.EqualTo(1).Within(1e-12));
        Assert.That(mass[0, 1], Is.EqualTo(1).Within(1e-12));
        // A uniform head spends 4 of n.
        double uniform = Enumerable.Range(5, 251).Average(n => 4 / (double)n);
        Assert.That(mass[0, 3], Is.EqualTo(uniform).Within(1e-12));
        Assert.That(mass[1, 3], Is.EqualTo(uniform).Within(1e-12));
    }

    [TestCase("tinyllamas-stories260K/stories260K.bin")]
    [TestCase("tinystories-656K/model.f32.safetensors")]
    public void StreamingMassOfRealModels(string modelFile)
    {
        using LoadedModel model = ModelFixture.Load("cpu", modelFile);
        HeadScores expected = HeadScores.Load(ModelFixture.ReferenceFile(modelFile, "head_streaming_mass.tsv"));
        HeadScores mass = StreamingMass.Measure(ModelCapture.Read(model.Description, model.Weights, ReadIds(modelFile).AsSpan()[..^1]));
        foreach ((int layer, int head) in HeadScoresTests.Heads(expected))
            Assert.That(mass[layer, head], Is.EqualTo(expected[layer, head]).Within(2e-6), $"layer {layer}, head {head}");
    }

    // The same text in one piece, in several, and token by token.
    [Test]
    public void ACaptureDoesNotDependOnThePieces()
    {
        const string ModelFile = "tinyllamas-stories260K/stories260K.bin";
        using LoadedModel model = ModelFixture.Load("cpu", ModelFile);
        int[] ids = ReadIds(ModelFile)[..40];
        HeadScores whole = StreamingMass.Measure(ModelCapture.Read(model.Description, model.Weights, ids), 1, 4);
        var capture = new ModelCapture(model.Description);
        using ModelRunner runner = capture.CreateRunner(model.Weights);
        runner.Prefill([1, 2, 3]); // forgotten again
        runner.Reset();
        runner.Prefill(ids.AsSpan(0, 21));
        runner.Prefill([7, 8]); // taken back
        runner.Rewind(21);
        for (int i = 21; i < ids.Length; i++)
            runner.Decode(ids[i]);
        HeadScores pieces = StreamingMass.Measure(capture, 1, 4);
        foreach ((int layer, int head) in HeadScoresTests.Heads(whole))
            Assert.That(pieces[layer, head], Is.EqualTo(whole[layer, head]).Within(1e-5));
    }

    internal static int[] ReadIds(string modelFile)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(ModelFixture.ReferenceFile(modelFile, "expected_nll.json")));
        return [.. document.RootElement.GetProperty("ids").EnumerateArray().Select(id => id.GetInt32())];
    }

    private static Session Open(InductionModelOptions options) => new(new InductionModel(options), ModelFixture.GetDevice("cpu"));

    private sealed class Session(InductionModel model, Device device) : IDisposable
    {
        public InductionModel Model => model;

        public ModelWeights Weights { get; } = ModelWeights.Load(device, model.Description, model);

        public void Dispose() => Weights.Dispose();
    }
}
