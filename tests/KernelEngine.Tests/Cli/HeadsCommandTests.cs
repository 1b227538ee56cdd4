using KernelEngine.Models;
using KernelEngine.Models.Heads;
using KernelEngine.Tests.Heads;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Cli;

public sealed class HeadsCommandTests
{
    private const string Stories = "tinyllamas-stories260K/stories260K.bin";

    [Test]
    public void StreamingScoresAreTheMassOutsideTheWindow()
    {
        using var folder = new TemporaryFolder();
        HeadScores scores = Run(folder, "streaming", "--text", WriteStory(folder));
        HeadScores mass = HeadScores.Load(ModelFixture.ReferenceFile(Stories, "head_streaming_mass.tsv"));
        foreach ((int layer, int head) in HeadScoresTests.Heads(mass))
            Assert.That(scores[layer, head], Is.EqualTo(1 - mass[layer, head]).Within(2e-6));
    }

    [TestCase("induction")]
    [TestCase("echo")]
    public void RepetitionNeedsNoText(string score)
    {
        using var folder = new TemporaryFolder();
        HeadScores scores = Run(folder, score);
        Assert.That((scores.NumLayers, scores.NumHeads), Is.EqualTo((5, 4)));
        Assert.That(HeadScoresTests.Heads(scores).Select(h => scores[h.Layer, h.Head]), Is.All.InRange(0, 1));
    }

    [Test]
    public void GatesAreLearntAwayFromOne()
    {
        using var folder = new TemporaryFolder();
        HeadScores gates = Run(folder, "gates", "--text", WriteStory(folder), "--steps", "4", "--sinks", "2", "--recent", "8");
        Assert.That((gates.NumLayers, gates.NumHeads), Is.EqualTo((5, 4)));
        // Four steps of 0.02 at the most.
        double[] values = [.. HeadScoresTests.Heads(gates).Select(h => gates[h.Layer, h.Head])];
        Assert.That(values, Is.All.InRange(0.92 - 1e-6, 1).And.Some.LessThan(0.921));
    }

    // The rules that one command writes are those that another runs with.
    [Test]
    public void SpansArePlannedAndRun()
    {
        using var folder = new TemporaryFolder();
        string output = Path.Combine(folder.Path, "rules.json");
        CommandRun run = CommandRun.Of(
            "spans", "--model", TestData.PathOf(Stories), "--text", WriteStory(folder), "--lengths", "64", "128", "--unseen", "96",
            "--answer", "16", "--samples", "1", "--block", "8", "--step", "16", "--output", output);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        MoaRules rules = MoaRules.Load(output);
        Assert.That((rules.Alphas.NumLayers, rules.Alphas.NumHeads), Is.EqualTo((5, 8)));
        CommandRun used = CommandRun.Of(
            "run", "--model", TestData.PathOf(Stories), "--prompt", "Once upon a time", "--tokens", "10", "--cache", "moa",
            "--spans", output);
        Assert.That(used.ExitCode, Is.Zero, used.Error);
        CommandRun refused = CommandRun.Of("spans", "--model", "none", "--text", "none", "--output", output, "--density", "2");
        Assert.That(refused.Error, Does.Contain("--density"));
    }

    [Test]
    public void AModelThatFindsNoNeedleIsSaidSo()
    {
        using var folder = new TemporaryFolder();
        string output = Path.Combine(folder.Path, "heads.tsv");
        CommandRun run = CommandRun.Of(
            "heads", "--model", TestData.PathOf(Stories), "--score", "retrieval", "--text", WriteStory(folder), "--output", output);
        Assert.That(run.ExitCode, Is.Not.Zero);
        Assert.That(run.Error, Does.Contain("never gave back"));
        Assert.That(File.Exists(output), Is.False);
    }

    [Test]
    public void WhatATextIsNeededForIsSaidAtOnce()
    {
        CommandRun run = CommandRun.Of("heads", "--model", "none", "--score", "streaming", "--output", "none");
        Assert.That(run.Error, Does.Contain("--text FILE"));
    }

    [TestCase(1)]
    [TestCase(2)]
    public void AConvertedModelRuns(int group)
    {
        using var folder = new TemporaryFolder();
        string output = Path.Combine(folder.Path, "model");
        CommandRun run = CommandRun.Of(
            "convert", "--model", TestData.PathOf(Stories), "--output", output, "--group", $"{group}", "--text", WriteStory(folder));
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        using LoadedModel model = ModelLoader.Load(output, ModelFixture.GetDevice("cpu"));
        Assert.That(model.Description.Layers[0].NumKvHeads, Is.EqualTo(4 / group));
    }

    [Test]
    public void AModelWithCodebooksLooksAtFewKeysFromTheFirstTokenOn()
    {
        using var folder = new TemporaryFolder();
        string output = Path.Combine(folder.Path, "model");
        CommandRun converted = CommandRun.Of("convert", "--model", TestData.PathOf(Stories), "--output", output, "--codebooks", "--text", WriteStory(folder));
        Assert.That(converted.ExitCode, Is.Zero, converted.Error);
        CommandRun run = CommandRun.Of(
            "run", "--model", output, "--prompt", "Once upon a time there was a dog", "--tokens", "30", "--attention", "spt", "--top", "4");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Error, Does.Contain("sparse-attention-selected/cpu").And.Not.Contains(" attention-forward/"));
        Assert.That(CommandRun.Of("run", "--attention", "spt", "--top", "9/8").Error, Does.Contain("1/8"));
        Assert.That(CommandRun.Of("convert", "--model", "none", "--output", output, "--codebooks").Error, Does.Contain("--text FILE"));
    }

    [Test]
    public void AModelRunsOnShorterRows()
    {
        using var folder = new TemporaryFolder();
        string output = Path.Combine(folder.Path, "model"), bases = Path.Combine(output, KvProjections.FileName);
        string story = WriteStory(folder);
        CommandRun converted = CommandRun.Of(
            "convert", "--model", TestData.PathOf(Stories), "--output", output, "--kv-share", "0.7", "--text", story);
        Assert.That(converted.ExitCode, Is.Zero, converted.Error);
        Assert.That(converted.Output, Does.Contain("of 8 numbers of a key").And.Contains(KvProjections.FileName));
        CommandRun run = CommandRun.Of("run", "--model", output, "--prompt", "Once upon", "--tokens", "10", "--kv-projections", bases);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        CommandRun evict = CommandRun.Of(
            "evict", "--model", output, "--text", story, "--policies", "full", "--budgets", "99", "--length", "99", "--kv-projections", bases, "--json");
        Assert.That(evict.ExitCode, Is.Zero, evict.Error);
        double[] bytes = [.. evict.Json.EnumerateArray().Select(row => row.GetProperty("cacheBytes").GetDouble())];
        Assert.That(bytes[1], Is.EqualTo(0.7 * bytes[0]).Within(1).Percent);
        Assert.That(CommandRun.Of("run", "--kv-projections", bases).Error, Does.Contain("heads.0.key_basis"));
        CommandRun blind = CommandRun.Of("convert", "--model", "none", "--output", output, "--kv-share", "0.5");
        Assert.That(blind.Error, Does.Contain("--text FILE"));
    }

    [Test]
    public void ARoutedModelRuns()
    {
        using var folder = new TemporaryFolder();
        string output = Path.Combine(folder.Path, "model");
        CommandRun converted = CommandRun.Of(
            "convert", "--model", TestData.PathOf(Stories), "--output", output, "--ffn-blocks", "4", "--text", WriteStory(folder));
        Assert.That(converted.ExitCode, Is.Zero, converted.Error);
        Assert.That(converted.Output, Does.Contain("2 of 4 blocks"));
        CommandRun run = CommandRun.Of("run", "--model", output, "--prompt", "Once upon a time", "--tokens", "10", "--ffn", "routed");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Error, Does.Contain("feed-forward-route/cpu").And.Not.Contains("swiglu"));
        Assert.That(CommandRun.Of("run", "--model", TestData.PathOf(Stories), "--prompt", "Once", "--ffn", "routed").Error, Does.Contain("router"));
    }

    private static HeadScores Run(TemporaryFolder folder, string score, params string[] more)
    {
        string output = Path.Combine(folder.Path, "heads.tsv");
        CommandRun run = CommandRun.Of(["heads", "--model", TestData.PathOf(Stories), "--score", score, "--output", output, .. more]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        return HeadScores.Load(output);
    }

    // The text whose first 256 tokens the reference table was made of.
    private static string WriteStory(TemporaryFolder folder)
    {
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        string story = model.Tokenizer.Decode(HeadIdentificationTests.ReadIds(Stories).AsSpan()[..^1]);
        return folder.Write("story.txt", System.Text.Encoding.UTF8.GetBytes(story));
    }
}
