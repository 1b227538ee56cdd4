using KernelEngine.Tests.Cli;

namespace KernelEngine.Tests;

/// <summary>The README shows only what is true: its example is a test, and its table comes from the kernels.</summary>
public sealed class ReadmeTests
{
    [Test]
    public void TheExampleIsTheOneThatRuns()
    {
        string[] lines = File.ReadAllLines(InCheckout("tests/KernelEngine.Tests/ReadmeExampleTests.cs"));
        int begin = Array.FindIndex(lines, l => l.Contains("// README begin")), end = Array.FindIndex(lines, l => l.Contains("// README end"));
        string example = string.Join('\n', lines[(begin + 1)..end].Select(l => l.Length > 8 ? l[8..] : ""));
        // Inside the tests' namespaces the class needs its full name; outside it does not.
        example = example.Replace("KernelEngine.Attention.", "Attention.", StringComparison.Ordinal);
        Assert.That(Readme(), Does.Contain($"```csharp\nusing KernelEngine;\n\n{example}\n```"));
    }

    [Test]
    public void TheTableIsThatOfTheKernels() =>
        Assert.That(Readme(), Does.Contain(CommandRun.Of("kernels", "--markdown").Output), "kernel-engine kernels --markdown prints the table");

    private static string Readme() => File.ReadAllText(InCheckout("README.md")).ReplaceLineEndings("\n");

    private static string InCheckout(string path)
    {
        if (TestData.CheckoutRoot is null)
            Assert.Ignore("The tests run away from the checkout.");
        return Path.Combine(TestData.CheckoutRoot!, path);
    }
}
