namespace KernelEngine.Tests;

/// <summary>Tables in Markdown files of the repository that come from the code.</summary>
internal static class CommittedTable
{
    /// <summary>
    /// Requires that a file has the table, which its first line finds there. With <c>KERNEL_ENGINE_WRITE_README</c> set, writes it instead.
    /// </summary>
    /// <param name="path">The file's path in the checkout; without a checkout the test is ignored.</param>
    /// <param name="expected">The table's lines.</param>
    /// <param name="hint">Where the table comes from, for a failure.</param>
    public static void Require(string path, string[] expected, string hint)
    {
        if (TestData.CheckoutRoot is null)
            Assert.Ignore("The tests run away from the checkout.");
        string file = Path.Combine(TestData.CheckoutRoot!, path);
        List<string> lines = [.. File.ReadAllLines(file)];
        int first = lines.IndexOf(expected[0]);
        Assert.That(first, Is.GreaterThanOrEqualTo(0), $"{path} has a table that begins with {expected[0]}");
        int end = lines.FindIndex(first, line => !line.StartsWith('|'));
        end = end < 0 ? lines.Count : end;
        if (Environment.GetEnvironmentVariable("KERNEL_ENGINE_WRITE_README") is { Length: > 0 })
        {
            lines.RemoveRange(first, end - first);
            lines.InsertRange(first, expected);
            File.WriteAllText(file, string.Join('\n', lines) + "\n");
            return;
        }
        Assert.That(lines[first..end], Is.EqualTo(expected), $"{hint} (KERNEL_ENGINE_WRITE_README=1 writes it)");
    }
}
