using System.Text.Json;
using KernelEngine.Models;

namespace KernelEngine.Tests.Models;

/// <summary>Real models against outputs that an independent float64 program computed from the same weights.</summary>
public sealed class GoldenModelTests
{
    private const double Tolerance = 2e-4;

    [TestCaseSource(typeof(ModelFixture), nameof(ModelFixture.ModelsOnFastDevices))]
    public void GreedyTextIsThatOfTheReference(string device, string modelFile)
    {
        using LoadedModel model = ModelFixture.Load(device, modelFile);
        using ModelRunner runner = model.CreateRunner();
        using JsonDocument expected = Open(modelFile, "expected_greedy.json");
        foreach (JsonElement item in expected.RootElement.GetProperty("cases").EnumerateArray())
        {
            int[] promptIds = Ints(item.GetProperty("prompt_ids")), ids = Ints(item.GetProperty("ids"));
            string text = item.GetProperty("text").GetString()!;
            Assert.That(model.Tokenizer.Encode(item.GetProperty("prompt").GetString()!), Is.EqualTo(promptIds));
            Assert.That(model.Tokenizer.Decode(ids), Is.EqualTo(text));
            runner.Reset();
            int maxTokens = item.GetProperty("max_total_tokens").GetInt32() - promptIds.Length;
            int[] generated = [.. runner.Generate(promptIds, new GenerationOptions { MaxTokens = maxTokens })];
            Assert.That(generated, Is.EqualTo(ids[promptIds.Length..]), $"prompt '{item.GetProperty("prompt").GetString()}'");
        }
    }

    // A simulated GPU takes about a second a token: the shortest prompt and the first tokens after it.
    [TestCase("tinyllamas-stories260K/stories260K.bin"), Category("Simulator")]
    [TestCase("tinystories-656K/model.f32.safetensors"), Category("Simulator")]
    public void GreedyTextBeginsAsTheReferenceOnTheSimulator(string modelFile)
    {
        const int NewTokens = 3;
        using LoadedModel model = ModelFixture.Load("simulator", modelFile);
        using ModelRunner runner = model.CreateRunner();
        using JsonDocument expected = Open(modelFile, "expected_greedy.json");
        JsonElement item = expected.RootElement.GetProperty("cases").EnumerateArray().MinBy(c => c.GetProperty("prompt_ids").GetArrayLength());
        int[] promptIds = Ints(item.GetProperty("prompt_ids")), ids = Ints(item.GetProperty("ids"));
        int[] generated = [.. runner.Generate(promptIds, new GenerationOptions { MaxTokens = NewTokens })];
        Assert.That(generated, Is.EqualTo(ids[promptIds.Length..(promptIds.Length + NewTokens)]));
    }

    [TestCaseSource(typeof(ModelFixture), nameof(ModelFixture.ModelsOnDevices))]
    public void LogitsAreThoseOfTheReference(string device, string modelFile)
    {
        using LoadedModel model = ModelFixture.Load(device, modelFile);
        using ModelRunner runner = model.CreateRunner();
        using JsonDocument expected = Open(modelFile, "expected_logits.json");
        JsonElement root = expected.RootElement;
        int[] ids = Ints(root.GetProperty("ids"));
        Assert.That(model.Tokenizer.Encode(root.GetProperty("text").GetString()!), Is.EqualTo(ids));
        int vocabSize = model.Description.VocabSize;
        var logits = new float[ids.Length * vocabSize];
        runner.Prefill(ids, logits);
        for (int i = 0; i < ids.Length; i++)
        {
            ReadOnlySpan<float> row = logits.AsSpan(i * vocabSize, vocabSize);
            Assert.That(
                ModelFixture.LogSumExp(row),
                Is.EqualTo(root.GetProperty("logsumexp")[i].GetDouble()).Within(Tolerance), $"position {i}");
            foreach (JsonElement pair in root.GetProperty("top5")[i].EnumerateArray())
            {
                Assert.That(
                    row[pair[0].GetInt32()],
                    Is.EqualTo(pair[1].GetDouble()).Within(Tolerance), $"position {i}, token {pair[0].GetInt32()}");
            }
        }
        double[] last = [.. root.GetProperty("last_position_logits").EnumerateArray().Select(x => x.GetDouble())];
        Assert.That(runner.GetLogits(), Is.EqualTo(last).Within(Tolerance));
    }

    [TestCaseSource(typeof(ModelFixture), nameof(ModelFixture.ModelsOnDevices))]
    public void LossOfARealStoryIsThatOfTheReference(string device, string modelFile)
    {
        using LoadedModel model = ModelFixture.Load(device, modelFile);
        using ModelRunner runner = model.CreateRunner();
        using JsonDocument expected = Open(modelFile, "expected_nll.json");
        int[] ids = Ints(expected.RootElement.GetProperty("ids"));
        double[] nll = [.. expected.RootElement.GetProperty("nll").EnumerateArray().Select(x => x.GetDouble())];
        int vocabSize = model.Description.VocabSize;
        var logits = new float[(ids.Length - 1) * vocabSize];
        runner.Prefill(ids.AsSpan(0, ids.Length - 1), logits);
        Assert.That(nll, Has.Length.EqualTo(ids.Length - 1));
        for (int i = 0; i < nll.Length; i++)
        {
            ReadOnlySpan<float> row = logits.AsSpan(i * vocabSize, vocabSize);
            Assert.That(ModelFixture.LogSumExp(row) - row[ids[i + 1]], Is.EqualTo(nll[i]).Within(Tolerance), $"token {i + 1}");
        }
    }

    private static JsonDocument Open(string modelFile, string name) =>
        JsonDocument.Parse(File.ReadAllBytes(ModelFixture.ReferenceFile(modelFile, name)));

    private static int[] Ints(JsonElement array) => [.. array.EnumerateArray().Select(x => x.GetInt32())];
}
