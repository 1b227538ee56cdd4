using System.Globalization;
using KernelEngine.Benchmarks.Compare;
using CompareOptions = KernelEngine.Benchmarks.Compare.CompareOptions;

namespace KernelEngine.Benchmarks.Plot;

/// <summary>What the command <c>plot</c> was asked for.</summary>
/// <param name="Problem">An attention operation and its problem, without the lengths.</param>
/// <param name="Lengths">Tokens, ascending.</param>
/// <param name="Compare">How each length is measured, and the picture's file.</param>
internal sealed record PlotOptions(string Problem, IReadOnlyList<int> Lengths, CompareOptions Compare)
{
    public const string Usage =
        """
        plot PROBLEM [--lengths N,N,...] [--threads N] [--rounds N] [--sample-ms N] [--output FILE.png]

          PROBLEM         an attention operation and its problem without lengths, as in "attention-forward h=8 d=64 causal";
                          with q=1 the keys alone have the lengths
          --lengths N,..  tokens, at least two lengths (512,1024,2048,4096)
          --threads N     threads of every implementation (2)
          --rounds N      rounds of each length (5)
          --sample-ms N   least length of one sample (100)
          --output FILE   the picture (results/<processor>/<problem>.png); its table goes beside it as Markdown
        """;

    /// <summary>The problems, one a length.</summary>
    public IEnumerable<Case> Cases => Lengths.Select(length => Case.Parse(
        Problem.Split(' ').Any(word => word.StartsWith("q=", StringComparison.Ordinal))
            ? string.Create(CultureInfo.InvariantCulture, $"{Problem} k={length}")
            : string.Create(CultureInfo.InvariantCulture, $"{Problem} q={length} k={length}")));

    /// <exception cref="FormatException">The problem is missing, or an option is unknown, without value or out of range.</exception>
    public static PlotOptions Parse(ReadOnlySpan<string> args)
    {
        if (args.Length == 0 || args[0].StartsWith('-') || !args[0].StartsWith("attention-", StringComparison.Ordinal))
            throw new FormatException($"The first argument must be an attention problem.\n{Usage}");
        IReadOnlyList<int> lengths = [512, 1024, 2048, 4096];
        List<string> rest = ["--rounds", "5"];
        for (int i = 1; i < args.Length; i += 2)
        {
            if (args[i] == "--lengths" && i + 1 < args.Length)
                lengths = ParseLengths(args[i + 1]);
            else
                rest.AddRange(args.Slice(i, Math.Min(2, args.Length - i)));
        }
        CompareOptions compare = CompareOptions.Parse([.. rest], Usage);
        return compare is { Problem: null, Only.Count: 0 }
            ? new PlotOptions(args[0], lengths, compare)
            : throw new FormatException($"'--problem' and '--only' are options of 'compare'.\n{Usage}");
    }

    private static int[] ParseLengths(string text)
    {
        var lengths = new List<int>();
        foreach (string word in text.Split(','))
        {
            lengths.Add(int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int length) && length > 0
                ? length
                : throw new FormatException($"'--lengths' must be numbers from 1, with commas, but has '{word}'."));
        }
        int[] sorted = [.. lengths.Distinct().Order()];
        return sorted.Length >= 2
            ? sorted
            : throw new FormatException("'--lengths' must have at least two lengths: a line needs two points.");
    }
}
