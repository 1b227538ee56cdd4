using System.Globalization;

namespace KernelEngine.Benchmarks.Memory;

/// <summary>What the command <c>memory</c> was asked for.</summary>
internal sealed record MemoryOptions
{
    public const string Usage =
        """
        memory [--only NAME]... [--threads N] [--output FILE.md]

          --only NAME    only problems whose text contains NAME, as in --only cross-entropy
          --threads N    threads of every implementation (2)
          --output FILE  the report (results/<processor>/memory.md)
        """;

    public IReadOnlyList<string> Only { get; init; } = [];

    public int Threads { get; init; } = 2;

    public string? Output { get; init; }

    /// <summary>In a child: the one problem to measure.</summary>
    public string? Problem { get; init; }

    /// <summary>In a child: the row's name.</summary>
    public string? Peer { get; init; }

    /// <exception cref="FormatException">An option is unknown, or its value is missing or out of range.</exception>
    public static MemoryOptions Parse(ReadOnlySpan<string> args)
    {
        var options = new MemoryOptions();
        for (int i = 0; i < args.Length; i += 2)
        {
            string value = i + 1 < args.Length ? args[i + 1] : throw new FormatException($"'{args[i]}' has no value.\n{Usage}");
            options = args[i] switch
            {
                "--threads" when int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int threads)
                    && threads is >= 1 and <= 1024 => options with { Threads = threads },
                "--threads" => throw new FormatException($"'--threads' must be a number from 1 to 1024 but is '{value}'."),
                "--only" => options with { Only = [.. options.Only, value] },
                "--output" => options with { Output = value },
                "--problem" => options with { Problem = value },
                "--peer" => options with { Peer = value },
                _ => throw new FormatException($"There is no option '{args[i]}'.\n{Usage}"),
            };
        }
        return options;
    }

    public bool Includes(string problem) => Only.Count == 0 || Only.Any(name => problem.Contains(name, StringComparison.Ordinal));
}
