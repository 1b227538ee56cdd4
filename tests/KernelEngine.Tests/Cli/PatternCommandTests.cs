using KernelEngine.Tests.Models;
using SkiaSharp;

namespace KernelEngine.Tests.Cli;

public sealed class PatternCommandTests
{
    [Test]
    public void CountsPairsAndFlops()
    {
        CommandRun run = CommandRun.Of("pattern", "window", "--length", "100", "--window", "10", "--sinks", "2", "--head-dim", "32", "--json");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        // Rows 0 .. 9 see all before them; rows 10 and 11 the window and 1 and 2 sinks beside it; the others both.
        int pairs = 55 + 11 + 12 + 88 * 12;
        Assert.That(run.Json.GetProperty("pairs").GetInt64(), Is.EqualTo(pairs));
        Assert.That(run.Json.GetProperty("density").GetDouble(), Is.EqualTo(pairs / 5050.0).Within(1e-12));
        Assert.That(run.Json.GetProperty("flops").GetDouble(), Is.EqualTo(4.0 * 32 * pairs));
        Assert.That(run.Json.GetProperty("denseFlops").GetDouble(), Is.EqualTo(4.0 * 32 * 5050).Within(1e-6));
    }

    [TestCase("moa", "--spans", "130", "1000")]
    [TestCase("s2-attn")]
    [TestCase("sf-attn", "--sinks", "8")]
    [TestCase("bigbird", "--bidirectional", "--heads", "2")]
    [TestCase("longformer", "--block", "16", "--globals", "0", "3")]
    [TestCase("strided", "--block", "8")]
    public void EveryPatternHasASummary(params string[] arguments)
    {
        CommandRun run = CommandRun.Of(["pattern", .. arguments, "--length", "512"]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output, Does.Contain(arguments[0]).And.Contain("%"));
    }

    [Test]
    public void RowsOfThePictureRunDownwards()
    {
        using var folder = new TemporaryFolder();
        string file = Path.Combine(folder.Path, "causal.png");
        CommandRun run = CommandRun.Of("pattern", "window", "--length", "64", "--window", "64", "--output", file);
        if (run.Error.Contains("no picture", StringComparison.Ordinal))
            Assert.Ignore(run.Error);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        // A causal triangle: dark below the diagonal, white above.
        using SKBitmap picture = SKBitmap.Decode(file);
        Assert.That(Darkness(picture, 0.35, 0.7), Is.GreaterThan(0.7), "early keys, late rows");
        Assert.That(Darkness(picture, 0.7, 0.35), Is.LessThan(0.1), "late keys, early rows");
    }

    [TestCase("--sinks must be", "window", "--sinks", "-1")]
    [TestCase("must divide", "sf-attn", "--length", "1024", "--sinks", "3")]
    public void SizesThatDoNotFitAreRefused(string message, params string[] arguments)
    {
        CommandRun run = CommandRun.Of(["pattern", .. arguments]);
        Assert.That(run.ExitCode, Is.EqualTo(KernelEngine.Cli.ExitCodes.BadArguments));
        Assert.That(run.Error, Does.Contain(message));
    }

    // Of a point of the picture, as shares of its width and height.
    private static double Darkness(SKBitmap picture, double x, double y)
    {
        SKColor color = picture.GetPixel((int)(x * picture.Width), (int)(y * picture.Height));
        return 1 - (color.Red + color.Green + color.Blue) / 765.0;
    }
}
