using KernelEngine.Tests.Cli;

namespace KernelEngine.Tests;

/// <summary>
/// The README's tables are those that the kernels give. With <c>KERNEL_ENGINE_WRITE_README</c> set, the test writes them.
/// </summary>
public sealed class ReadmeFeatureTests
{
    [TestCase("--markdown")]
    [TestCase("--features")]
    public void ATableIsThatOfTheKernels(string option)
    {
        if (TestData.CheckoutRoot is null)
            Assert.Ignore("The tests run away from the checkout.");
        string file = Path.Combine(TestData.CheckoutRoot!, "README.md"), table = CommandRun.Of("kernels", option).Output;
        List<string> lines = [.. File.ReadAllLines(file)];
        string[] expected = table.TrimEnd('\n').Split('\n');
        int first = lines.IndexOf(expected[0]);
        Assert.That(first, Is.GreaterThanOrEqualTo(0), $"the README has a table that begins with {expected[0]}");
        int end = lines.FindIndex(first, line => !line.StartsWith('|'));
        if (Environment.GetEnvironmentVariable("KERNEL_ENGINE_WRITE_README") is { Length: > 0 })
        {
            lines.RemoveRange(first, end - first);
            lines.InsertRange(first, expected);
            File.WriteAllText(file, string.Join('\n', lines) + "\n");
            return;
        }
        Assert.That(lines[first..end], Is.EqualTo(expected), $"kernel-engine kernels {option} prints the table");
    }
}
