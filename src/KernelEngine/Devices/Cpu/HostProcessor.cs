namespace KernelEngine;

/// <summary>What the host processor calls itself.</summary>
internal static class HostProcessor
{
    /// <summary>The model name, or the architecture where the system does not tell.</summary>
    public static string Name { get; } = ReadName();

    private static string ReadName()
    {
        try
        {
            string? line = File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal));
            if (line is not null)
                return line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
        return System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture.ToString();
    }
}
