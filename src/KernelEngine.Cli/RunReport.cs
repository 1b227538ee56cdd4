using System.Globalization;
using KernelEngine.Models;

namespace KernelEngine.Cli;

/// <summary>What ran and how fast, in a few lines for standard error.</summary>
internal static class RunReport
{
    public static void Write(TextWriter writer, ModelRunner runner, int promptTokens, TimeSpan prefill, int newTokens, TimeSpan decode)
    {
        writer.WriteLine($"device   {runner.Device.Name}: {runner.Device.Description}");
        foreach ((Kernel kernel, long count) in runner.Device.Launches.OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key.Name, StringComparer.Ordinal))
            writer.WriteLine($"kernel   {kernel.Name} x {count}");
        writer.WriteLine($"prefill  {FormatRate(promptTokens, prefill)}");
        writer.WriteLine($"decode   {FormatRate(newTokens, decode)}");
        writer.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"kv cache {runner.CacheBytes} bytes for {runner.Capacity} positions, {runner.Position} used"));
    }

    private static string FormatRate(int tokens, TimeSpan time) => string.Create(
        CultureInfo.InvariantCulture, $"{tokens} tokens in {time.TotalMilliseconds:0.0} ms, {tokens / Math.Max(time.TotalSeconds, 1e-9):0} tokens/s");
}
