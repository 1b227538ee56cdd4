using System.Diagnostics;
using System.Text;
using System.Text.Json;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Cli;

public sealed class ScoreCommandTests
{
    private const string Stories = "tinyllamas-stories260K/stories260K.bin", Wide = "tinystories-656K/model.f32.safetensors";
    private const string Documents = "Once upon a time there was a cat.\n\nLily saw it.\nShe was happy.\n\n\nThe end.\n";

    [TestCase(Stories)]
    [TestCase(Wide)]
    [TestCase("tinystories-656K/model.bf16.safetensors")]
    public void TheLossOfARealStoryIsThatOfTheReference(string modelFile)
    {
        (int[] ids, double[] nll, double mean) = SequenceScorerTests.ReadExpected(modelFile);
        using var folder = new TemporaryFolder();
        using (KernelEngine.Models.LoadedModel model = ModelFixture.Load("cpu", modelFile))
            folder.Write("story.txt", Encoding.UTF8.GetBytes(model.Tokenizer.Decode(ids)));
        CommandRun run = Score(folder, modelFile, "story.txt", "--json");
        JsonElement document = run.Json.GetProperty("documents").EnumerateArray().Single();
        Assert.That(document.GetProperty("tokens").GetInt32(), Is.EqualTo(nll.Length));
        Assert.That(document.GetProperty("natsPerToken").GetDouble(), Is.EqualTo(mean).Within(2e-5));
        Assert.That(document.GetProperty("perplexity").GetDouble(), Is.EqualTo(Math.Exp(mean)).Within(3e-4));
        double bits = nll.Sum() / Math.Log(2) / document.GetProperty("bytes").GetInt32();
        Assert.That(document.GetProperty("bitsPerByte").GetDouble(), Is.EqualTo(bits).Within(1e-5));
        Assert.That(run.Error, Does.Contain("cross-entropy-forward/cpu").And.Contains("tokens/s").And.Not.Contains("%"));
    }

    [Test]
    public void DocumentsAreScoredOneByOneAndInTotal()
    {
        using var folder = new TemporaryFolder();
        folder.Write("a.txt", Encoding.UTF8.GetBytes(Documents));
        string[] alone = ["Once upon a time there was a cat.", "Lily saw it.\nShe was happy.", "The end."];
        foreach (string text in alone)
            folder.Write($"{text.Length}.txt", Encoding.UTF8.GetBytes(text));
        JsonElement json = Score(folder, Stories, "a.txt", "--by", "blank", "--json").Json;
        JsonElement[] documents = [.. json.GetProperty("documents").EnumerateArray()];
        Assert.That(documents.Select(d => d.GetProperty("line").GetInt32()), Is.EqualTo(new[] { 1, 3, 7 }));
        Assert.That(documents.Select(d => d.GetProperty("bytes").GetInt32()), Is.EqualTo(alone.Select(t => t.Length)));
        for (int i = 0; i < alone.Length; i++)
        {
            JsonElement single = Score(folder, Stories, $"{alone[i].Length}.txt", "--json").Json.GetProperty("total");
            Assert.That(documents[i].GetProperty("nats").GetDouble(), Is.EqualTo(single.GetProperty("nats").GetDouble()));
            Assert.That(documents[i].GetProperty("tokens").GetInt32(), Is.EqualTo(single.GetProperty("tokens").GetInt32()));
        }
        JsonElement total = json.GetProperty("total");
        double nats = documents.Sum(d => d.GetProperty("nats").GetDouble());
        int tokens = documents.Sum(d => d.GetProperty("tokens").GetInt32());
        Assert.That(json.GetProperty("count").GetInt32(), Is.EqualTo(3));
        Assert.That(total.GetProperty("nats").GetDouble(), Is.EqualTo(nats));
        Assert.That(total.GetProperty("natsPerToken").GetDouble(), Is.EqualTo(nats / tokens));
    }

    [Test]
    public void AnEmptyLineIsADocumentOfNothing()
    {
        using var folder = new TemporaryFolder();
        folder.Write("a.txt", Encoding.UTF8.GetBytes("The end.\n\n"));
        folder.Write("empty.txt", []);
        CommandRun run = Score(folder, Stories, "a.txt", "--by", "line");
        Assert.That(run.ExitCode, Is.Zero);
        string[] lines = run.Output.TrimEnd().Split('\n');
        Assert.That(lines, Has.Length.EqualTo(4)); // a head, two documents, the total
        Assert.That(lines[0].Split(' ', StringSplitOptions.RemoveEmptyEntries), Has.Member("nats/token").And.Member("bits/byte"));
        Assert.That(Cells(lines[2])[..5], Is.EqualTo(new[] { "0", "0.000", "–", "–", "–" }));
        Assert.That(lines[2], Does.EndWith("a.txt:2"));
        Assert.That(Cells(lines[3])[..5], Is.EqualTo(Cells(lines[1])[..5]));
        JsonElement empty = Score(folder, Stories, "empty.txt", "--json").Json;
        Assert.That(empty.GetProperty("count").GetInt32(), Is.EqualTo(1));
        Assert.That(empty.GetProperty("total").TryGetProperty("perplexity", out _), Is.False);

        static string[] Cells(string line) => line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
    }

    [Test]
    public void TheDifferenceOfTwoModelsIsThatOfTheirScores()
    {
        using var folder = new TemporaryFolder();
        folder.Write("a.txt", Encoding.UTF8.GetBytes(Documents));
        JsonElement[] first = Each(Score(folder, Stories, "a.txt", "--by", "line", "--json"));
        JsonElement[] second = Each(Score(folder, Wide, "a.txt", "--by", "line", "--json"));
        JsonElement[] both = Each(Score(folder, Stories, "a.txt", "--by", "line", "--json", "--against", TestData.PathOf(Wide)));
        Assert.That(both, Has.Length.EqualTo(first.Length).And.Length.EqualTo(7));
        for (int i = 0; i < both.Length; i++)
        {
            double nats = first[i].GetProperty("nats").GetDouble(), other = second[i].GetProperty("nats").GetDouble();
            int tokens = first[i].GetProperty("tokens").GetInt32();
            Assert.That(both[i].GetProperty("nats").GetDouble(), Is.EqualTo(nats));
            Assert.That(both[i].GetProperty("against").GetProperty("nats").GetDouble(), Is.EqualTo(other));
            if (tokens > 0)
                Assert.That(both[i].GetProperty("difference").GetDouble(), Is.EqualTo((other - nats) / tokens).Within(1e-12));
            else
                Assert.That(both[i].TryGetProperty("difference", out _), Is.False);
        }
        string table = Score(folder, Stories, "a.txt", "--against", TestData.PathOf(Stories)).Output;
        Assert.That(table.Split('\n')[1], Does.Contain(" 0.00000  ")); // a model against itself
    }

    [Test]
    public void SeveralFilesAndWindowsOfAnyStride()
    {
        using var folder = new TemporaryFolder();
        string text = string.Concat(Enumerable.Repeat("Lily and Tim went to the park. They saw a big red dog. ", 60));
        folder.Write("a.txt", Encoding.UTF8.GetBytes(text));
        folder.Write("b.txt", Encoding.UTF8.GetBytes(text));
        JsonElement near = Score(folder, Stories, "a.txt", "b.txt", "--stride", "64", "--json").Json;
        JsonElement far = Score(folder, Stories, "a.txt", "b.txt", "--stride", "512", "--json").Json;
        JsonElement[] documents = [.. near.GetProperty("documents").EnumerateArray()];
        string?[] names = [.. documents.Select(d => Path.GetFileName(d.GetProperty("document").GetString()))];
        Assert.That(names, Is.EqualTo(new[] { "a.txt", "b.txt" }));
        Assert.That(documents[0].GetProperty("nats").GetDouble(), Is.EqualTo(documents[1].GetProperty("nats").GetDouble()));
        (JsonElement nearTotal, JsonElement farTotal) = (near.GetProperty("total"), far.GetProperty("total"));
        Assert.That(nearTotal.GetProperty("tokens").GetInt32(), Is.EqualTo(farTotal.GetProperty("tokens").GetInt32()));
        // A text that repeats itself is the easier the more of it a window shows.
        Assert.That(nearTotal.GetProperty("nats").GetDouble(), Is.LessThan(farTotal.GetProperty("nats").GetDouble()));
    }

    [TestCase(2, "--stride must be at least 1", "--stride", "0")]
    [TestCase(2, "1 to the model's 512 positions but is 513", "--stride", "513")]
    [TestCase(2, "word", "--by", "word")]
    [TestCase(3, "nowhere", "--against", "nowhere")]
    public void BadArgumentsGiveOneLineThatHelps(int exitCode, string hint, params string[] arguments)
    {
        using var folder = new TemporaryFolder();
        folder.Write("a.txt", "The end."u8);
        AssertFails(Score(folder, Stories, ["a.txt", .. arguments]), exitCode, hint);
    }

    [Test]
    public void WhatCannotBeReadIsNamed()
    {
        using var folder = new TemporaryFolder();
        folder.Write("a.txt", "The end."u8);
        folder.Write("bad.txt", [.. "The end.\nNot "u8, 0xFF, .. " text"u8]);
        AssertFails(Score(folder, Stories, "a.txt", "none.txt"), 3, "none.txt'");
        AssertFails(Score(folder, Stories, "."), 3, "is a folder");
        AssertFails(CommandRun.Of("score", "--text", Path.Combine(folder.Path, "a.txt")), 2, "--model");
        AssertFails(CommandRun.Of("score", "--model", TestData.PathOf(Stories)), 2, "--text");
        CommandRun run = Score(folder, Stories, "bad.txt", "--by", "line");
        Assert.That(run.ExitCode, Is.EqualTo(3));
        Assert.That(run.Error, Does.Contain("not UTF-8: byte 0xFF at offset 13"));
        Assert.That(run.Output, Does.Contain("bad.txt:1").And.Not.Contains("bad.txt:2")); // what came before is written
    }

    // A model of zeros gives every token the same probability, so that the score of any text is known.
    [Test]
    public void MemoryDoesNotGrowWithTheText([Values("file", "line")] string by)
    {
        const int VocabSize = 512, Megabytes = 6;
        using var folder = new TemporaryFolder();
        folder.Write("zeros.bin", LlamaCheckpointReaderTests.Build([8, 8, 1, 1, 1, VocabSize, 128]));
        folder.Copy(TestData.PathOf("tinyllamas-stories260K/tok512.bin"));
        string line = "Once upon a time there was a little girl named Lily who saw 10 naïve cats and said hello. "; // of 92 bytes
        line = string.Concat(Enumerable.Repeat(line, 11)) + "\n";
        string small = Write(1 << 20), large = Write(Megabytes << 20);
        Run(small); // enough of it for the collector to have found its pace
        (long managed, long resident) = Memory();
        JsonElement total = Run(large);
        (long managedAfter, long residentAfter) = Memory();
        double natsPerToken = total.GetProperty("nats").GetDouble() / total.GetProperty("tokens").GetInt64();
        Assert.That(natsPerToken, Is.EqualTo(Math.Log(VocabSize)).Within(1e-5));
        Assert.That(managedAfter - managed, Is.LessThan(1 << 19));
        Assert.That(residentAfter - resident, Is.LessThan(Megabytes << 20)); // its characters alone would take twice as much

        string Write(int bytes) =>
            folder.Write($"{bytes}.txt", Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat(line, bytes / 1024))));

        JsonElement Run(string path)
        {
            using var output = new LastLine();
            var terminal = new KernelEngine.Cli.Terminal(output, TextWriter.Null);
            string model = Path.Combine(folder.Path, "zeros.bin");
            int exitCode = KernelEngine.Cli.CommandLine.Run(
                ["score", "--model", model, "--text", path, "--by", by, "--threads", "1", "--json"], terminal);
            Assert.That(exitCode, Is.Zero);
            using JsonDocument end = JsonDocument.Parse("{" + output.Text[(output.Text.IndexOf(',', StringComparison.Ordinal) + 1)..]);
            return end.RootElement.GetProperty("total").Clone();
        }
    }

    private static (long Managed, long Resident) Memory()
    {
        long managed = GC.GetTotalMemory(forceFullCollection: true);
        GC.Collect(2, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        using Process process = Process.GetCurrentProcess();
        return (managed, process.WorkingSet64);
    }

    private static CommandRun Score(TemporaryFolder folder, string modelFile, params string[] arguments) => CommandRun.Of(
        ["score", "--model", TestData.PathOf(modelFile), "--threads", "2", "--text",
            .. arguments.Select(a => a.EndsWith(".txt", StringComparison.Ordinal) || a == "." ? Path.Combine(folder.Path, a) : a)]);

    private static JsonElement[] Each(CommandRun run) => [.. run.Json.GetProperty("documents").EnumerateArray()];

    private static void AssertFails(CommandRun run, int exitCode, string hint)
    {
        Assert.That(run.ExitCode, Is.EqualTo(exitCode));
        Assert.That(run.Output, Is.Empty);
        Assert.That(run.Error, Does.StartWith("kernel-engine: ").And.Contains(hint));
        Assert.That(run.Error.TrimEnd().Split('\n'), Has.Length.EqualTo(1));
    }

    // Keeps no more of what is written than its last line.
    private sealed class LastLine : StringWriter
    {
        public string Text { get; private set; } = "";

        public override void WriteLine(string? value) => Text = value ?? "";
    }
}
