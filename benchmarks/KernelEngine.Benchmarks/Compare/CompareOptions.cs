using System.Globalization;

namespace KernelEngine.Benchmarks.Compare;

/// <summary>What the command <c>compare</c> was asked for.</summary>
internal sealed record CompareOptions
{
    public const string Usage =
        """
        compare [--only NAME]... [--problem TEXT] [--threads N] [--rounds N] [--sample-ms N] [--output FILE.md]

          --only NAME     only sections whose name contains NAME: linear, attention-forward, attention-backward,
                          attention-decode, cross-entropy-forward, cross-entropy-backward, generation
          --problem TEXT  only this problem, as in --problem "attention-forward h=2 q=64 k=64 d=64"
          --threads N     threads of every implementation (2)
          --rounds N      rounds, each measuring every implementation and the roofs once (9)
          --sample-ms N   least length of one sample (100)
          --output FILE   the report (results/<processor>/compare.md beside the project)
        """;

    public IReadOnlyList<string> Only { get; init; } = [];

    public string? Problem { get; init; }

    public int Threads { get; init; } = 2;

    public int Rounds { get; init; } = 9;

    public double SampleSeconds { get; init; } = 0.1;

    public string? Output { get; init; }

    /// <exception cref="FormatException">An option is unknown, or its value is missing or out of range.</exception>
    public static CompareOptions Parse(ReadOnlySpan<string> args, string usage = Usage)
    {
        var options = new CompareOptions();
        for (int i = 0; i < args.Length; i += 2)
        {
            string name = args[i];
            string value = i + 1 < args.Length ? args[i + 1] : throw new FormatException($"'{name}' has no value.\n{usage}");
            options = name switch
            {
                "--only" => options with { Only = [.. options.Only, value] },
                "--problem" => options with { Problem = value },
                "--threads" => options with { Threads = Number(name, value) },
                "--rounds" => options with { Rounds = Number(name, value) },
                "--sample-ms" => options with { SampleSeconds = Number(name, value) / 1000.0 },
                "--output" => options with { Output = value },
                _ => throw new FormatException($"There is no option '{name}'.\n{usage}"),
            };
        }
        return options;
    }

    public bool Includes(string section) => Only.Count == 0 || Only.Any(name => section.Contains(name, StringComparison.Ordinal));

    private static int Number(string name, string value) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number is >= 1 and <= 100_000
            ? number
            : throw new FormatException($"'{name}' must be a number from 1 to 100000 but is '{value}'.");
}
