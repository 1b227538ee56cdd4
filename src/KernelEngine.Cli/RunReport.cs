using System.Globalization;
using KernelEngine.Models;

namespace KernelEngine.Cli;

/// <summary>What ran and how fast, in a few lines for standard error.</summary>
internal static class RunReport
{
    public static void Write(TextWriter writer, ModelRunner runner, int promptTokens, TimeSpan prefill, int newTokens, TimeSpan decode)
    {
        WriteDevice(writer, runner.Device);
        writer.WriteLine($"prefill  {FormatRate(promptTokens, prefill)}");
        writer.WriteLine($"decode   {FormatRate(newTokens, decode)}");
        if (runner.Session is not { } session)
        {
            writer.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"kv cache {runner.CacheBytes} bytes for {runner.Capacity} positions, {runner.Position} used"));
            return;
        }
        KvCell[] cells = [.. session.Cache.Layers.SelectMany(layer => layer.Cells)];
        KvBytes bytes = session.Bytes;
        writer.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"kv cache {session.Policy.Name}: {cells.Min(cell => cell.Length)} to {cells.Max(cell => cell.Length)} of {runner.Position} tokens a head, "
            + $"{bytes.PayloadReserved} bytes of keys and values, {bytes.Metadata + bytes.PolicyState} beside them"));
    }

    /// <summary>What scored texts and how fast: tokens that were context in a second window count twice.</summary>
    public static void WriteScoring(TextWriter writer, Device device, long tokens, TimeSpan time)
    {
        WriteDevice(writer, device);
        writer.WriteLine($"score    {FormatRate(tokens, time)}");
    }

    private static void WriteDevice(TextWriter writer, Device device)
    {
        writer.WriteLine($"device   {device.Name}: {device.Description}");
        foreach ((Kernel kernel, long count) in device.Launches
            .OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key.Name, StringComparer.Ordinal))
        {
            writer.WriteLine($"kernel   {kernel.Name} x {count}");
        }
    }

    private static string FormatRate(long tokens, TimeSpan time) => string.Create(
        CultureInfo.InvariantCulture, $"{tokens} tokens in {time.TotalMilliseconds:0.0} ms, {tokens / Math.Max(time.TotalSeconds, 1e-9):0} tokens/s");
}
