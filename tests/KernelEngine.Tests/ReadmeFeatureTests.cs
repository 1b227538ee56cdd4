using KernelEngine.Tests.Cli;

namespace KernelEngine.Tests;

/// <summary>The README's tables are those that the kernels give.</summary>
public sealed class ReadmeFeatureTests
{
    [TestCase("--markdown")]
    [TestCase("--features")]
    public void ATableIsThatOfTheKernels(string option) => CommittedTable.Require(
        "README.md", CommandRun.Of("kernels", option).Output.TrimEnd('\n').Split('\n'), $"kernel-engine kernels {option} prints the table");
}
