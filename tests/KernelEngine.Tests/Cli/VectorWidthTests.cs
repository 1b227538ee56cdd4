using System.Runtime.Intrinsics;
using System.Text.Json;

namespace KernelEngine.Tests.Cli;

/// <summary>The kernels of narrower instruction sets, in child processes in which the runtime has the wider ones switched off.</summary>
public sealed class VectorWidthTests
{
    [TestCase("DOTNET_EnableAVX512", false, true, true)]
    [TestCase("DOTNET_EnableAVX2", false, false, true)]
    [TestCase("DOTNET_EnableHWIntrinsic", false, false, false)]
    public void KernelsAreRightWithoutAnInstructionSet(string setting, bool vector512, bool vector256, bool vector128)
    {
        if (!Vector256.IsHardwareAccelerated)
            Assert.Ignore("This processor has no 256-bit vectors to switch off.");
        var run = CommandRun.InChild(setting, "0", "verify", "--device", "cpu", "--threads", "2", "--json");
        Assert.That(run.ExitCode, Is.Zero, run.Output + run.Error);
        JsonElement json = run.Json, processor = json.GetProperty("processor");
        Assert.That(processor.GetProperty("vector512").GetBoolean(), Is.EqualTo(vector512), "the setting took effect");
        Assert.That(processor.GetProperty("vector256").GetBoolean(), Is.EqualTo(vector256), "the setting took effect");
        Assert.That(processor.GetProperty("vector128").GetBoolean(), Is.EqualTo(vector128), "the setting took effect");
        string[] kernels = [.. json.GetProperty("results").EnumerateArray().Select(r => r.GetProperty("kernel").GetString()!).Distinct()];
        Assert.That(kernels, Has.None.Contains("avx512"));
        Assert.That(kernels.Any(k => k.Contains("avx2", StringComparison.Ordinal)), Is.EqualTo(vector256));
        foreach (Operation operation in OperationList.All)
            Assert.That(kernels, Has.Some.StartsWith(operation.Name + "/cpu"), "there is a kernel for the narrowest machine");
    }
}
