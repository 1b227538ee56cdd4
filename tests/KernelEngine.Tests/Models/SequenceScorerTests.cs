using System.Text.Json;
using KernelEngine.Models;
using KernelEngine.Models.Scoring;

namespace KernelEngine.Tests.Models;

/// <summary>Negative log-likelihoods of the fused path: those of an independent program, and those of the logits.</summary>
public sealed class SequenceScorerTests
{
    private const string Stories = "tinyllamas-stories260K/stories260K.bin";

    [TestCaseSource(typeof(ModelFixture), nameof(ModelFixture.ModelsOnDevices))]
    public void LossOfARealStoryIsThatOfTheReference(string device, string modelFile)
    {
        RequireCrossEntropy(device);
        using LoadedModel model = ModelFixture.Load(device, modelFile);
        using ModelRunner runner = model.CreateRunner();
        using var scorer = new SequenceScorer(runner);
        (int[] ids, double[] expected, double mean) = ReadExpected(modelFile);
        var nll = new float[ids.Length - 1];
        scorer.Score(ids, 1, nll);
        Assert.That(nll, Is.EqualTo(expected).Within(2e-4));
        Assert.That(nll.Select(x => (double)x).Average(), Is.EqualTo(mean).Within(2e-5));
    }

    [TestCase(7, 1)]
    [TestCase(7, 7)]
    [TestCase(7, 8)]
    [TestCase(7, 30)]
    [TestCase(1, 2)]
    [TestCase(59, 1)]
    [TestCase(512, 60)]
    [TestCase(512, 61)]
    public void ChunksAndTheFirstTokenScoredChangeNothing(int chunkSize, int first)
    {
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        int[] tokens = [.. Enumerable.Range(0, 61).Select(i => i * 37 % 500 + 3)];
        float[] expected = FromLogits(model, tokens);
        using ModelRunner runner = model.CreateRunner(new RunnerOptions { ChunkSize = chunkSize, InitialCapacity = 3 });
        using var scorer = new SequenceScorer(runner);
        var nll = new float[tokens.Length - first];
        for (int run = 0; run < 2; run++) // the second time on what the first has left
        {
            scorer.Score(tokens, first, nll);
            Assert.That(nll, Is.EqualTo(expected[(first - 1)..]).Within(1e-4));
        }
    }

    [Test]
    public void ALongestSequenceFitsAndALongerOneIsRefused()
    {
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        using ModelRunner runner = model.CreateRunner();
        using var scorer = new SequenceScorer(runner);
        Assert.That(scorer.MaxInputs, Is.EqualTo(512));
        var tokens = new int[514];
        scorer.Score(tokens.AsSpan(0, 513), 512, new float[1]);
        Assert.That(() => scorer.Score(tokens, 513, new float[1]), Throws.ArgumentException.With.Message.Contains("513 tokens"));
        Assert.That(() => scorer.Score(tokens, 0, new float[1]), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => scorer.Score(tokens, 515, new float[1]), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => scorer.Score([1, 2, 3], 1, new float[1]), Throws.ArgumentException.With.Message.Contains("2 elements"));
        Assert.That(() => scorer.Score([1, 512], 1, new float[1]), Throws.ArgumentException);
        Assert.That(() => scorer.Score([512, 1], 1, new float[1]), Throws.ArgumentException.With.Message.Contains("is 512"));
    }

    [Test]
    public void NoLogitsAreComputedAndNothingIsAllocatedPerToken()
    {
        using Device device = DeviceList.Open("cpu", 2);
        using LoadedModel model = ModelLoader.Load(TestData.PathOf(Stories), device);
        using ModelRunner runner = model.CreateRunner(new RunnerOptions { InitialCapacity = 512 });
        using var scorer = new SequenceScorer(runner);
        var (tokens, nll) = (new int[501], new float[500]);
        scorer.Score(tokens, 1, nll);
        Assert.That(Launches(device, "linear"), Is.EqualTo(4 * model.Description.Layers.Length)); // one more would be the logits
        Assert.That(Launches(device, "cross-entropy-forward"), Is.EqualTo(1));
        Assert.That(() => runner.GetLogits(), Throws.InvalidOperationException);
        const int SmallestObject = 24; // one for each of the other 400 tokens would show; what a call allocates changes as its code is compiled again
        Assert.That(Allocated(501) - Allocated(101), Is.LessThan(400 * SmallestObject));

        long Allocated(int count)
        {
            scorer.Score(tokens.AsSpan(0, count), 1, nll.AsSpan(0, count - 1));
            long before = GC.GetAllocatedBytesForCurrentThread();
            scorer.Score(tokens.AsSpan(0, count), 1, nll.AsSpan(0, count - 1));
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }

    internal static (int[] Ids, double[] Nll, double Mean) ReadExpected(string modelFile)
    {
        string path = ModelFixture.ReferenceFile(modelFile, "expected_nll.json");
        using JsonDocument file = JsonDocument.Parse(File.ReadAllBytes(path));
        JsonElement root = file.RootElement;
        return ([.. root.GetProperty("ids").EnumerateArray().Select(x => x.GetInt32())],
            [.. root.GetProperty("nll").EnumerateArray().Select(x => x.GetDouble())], root.GetProperty("mean_nll").GetDouble());
    }

    // -ln p of tokens 1, 2, .. from the logits before each.
    internal static float[] FromLogits(LoadedModel model, ReadOnlySpan<int> tokens)
    {
        using ModelRunner runner = model.CreateRunner();
        int vocabSize = model.Description.VocabSize;
        var logits = new float[(tokens.Length - 1) * vocabSize];
        runner.Prefill(tokens[..^1], logits);
        var nll = new float[tokens.Length - 1];
        for (int i = 0; i < nll.Length; i++)
        {
            ReadOnlySpan<float> row = logits.AsSpan(i * vocabSize, vocabSize);
            nll[i] = (float)(ModelFixture.LogSumExp(row) - row[tokens[i + 1]]);
        }
        return nll;
    }

    private static void RequireCrossEntropy(string device)
    {
        try
        {
            KernelEngine.CrossEntropy.ForwardOperation.Select(
                TestDevices.KindOf(device), ProblemText.Parse<CrossEntropyProblem>("n=1 v=1 d=8"));
        }
        catch (NotSupportedException e)
        {
            Assert.Ignore(e.Message);
        }
    }

    private static long Launches(Device device, string operation) =>
        device.Launches.Where(pair => pair.Key.Name.StartsWith(operation + "/", StringComparison.Ordinal)).Sum(pair => pair.Value);
}
