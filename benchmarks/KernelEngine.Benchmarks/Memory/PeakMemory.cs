using System.Globalization;

namespace KernelEngine.Benchmarks.Memory;

/// <summary>The greatest resident size of this process since a moment, as Linux counts it (proc(5): VmHWM, clear_refs).</summary>
internal static class PeakMemory
{
    /// <summary>Bytes by which the greatest resident size during <paramref name="run"/> exceeds the size before it.</summary>
    /// <exception cref="NotSupportedException">The system does not say.</exception>
    public static long Measure(Action run)
    {
        if (!File.Exists("/proc/self/clear_refs"))
            throw new NotSupportedException("the system does not tell a process's greatest resident size");
        GC.Collect();
        GC.WaitForPendingFinalizers();
        File.WriteAllText("/proc/self/clear_refs", "5"); // the peak becomes the present size
        long before = ReadPeak();
        run();
        return ReadPeak() - before;
    }

    private static long ReadPeak()
    {
        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("VmHWM:", StringComparison.Ordinal));
        ReadOnlySpan<char> kibibytes = line.AsSpan("VmHWM:".Length, line.Length - "VmHWM:".Length - "kB".Length).Trim();
        return 1024 * long.Parse(kibibytes, CultureInfo.InvariantCulture);
    }
}
