using System.Diagnostics;
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
        (int exitCode, string output, string error) = Verify(setting);
        Assert.That(exitCode, Is.Zero, output + error);
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement processor = json.RootElement.GetProperty("processor");
        Assert.That(processor.GetProperty("vector512").GetBoolean(), Is.EqualTo(vector512), "the setting took effect");
        Assert.That(processor.GetProperty("vector256").GetBoolean(), Is.EqualTo(vector256), "the setting took effect");
        Assert.That(processor.GetProperty("vector128").GetBoolean(), Is.EqualTo(vector128), "the setting took effect");
        string[] kernels = [.. json.RootElement.GetProperty("results").EnumerateArray().Select(r => r.GetProperty("kernel").GetString()!).Distinct()];
        Assert.That(kernels, Has.None.Contains("avx512"));
        Assert.That(kernels.Any(k => k.Contains("avx2", StringComparison.Ordinal)), Is.EqualTo(vector256));
        foreach (Operation operation in OperationList.All)
            Assert.That(kernels, Has.Some.StartsWith(operation.Name + "/cpu"), "there is a kernel for the narrowest machine");
    }

    private static (int ExitCode, string Output, string Error) Verify(string setting)
    {
        string command = Path.Combine(AppContext.BaseDirectory, "kernel-engine.dll");
        var start = new ProcessStartInfo(Environment.ProcessPath is { } path && Path.GetFileNameWithoutExtension(path) == "dotnet" ? path : "dotnet")
        {
            ArgumentList = { command, "verify", "--device", "cpu", "--threads", "2", "--json" },
            Environment = { [setting] = "0" },
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }
}
