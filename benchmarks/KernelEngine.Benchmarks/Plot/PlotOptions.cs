using System.Globalization;
using KernelEngine.Benchmarks.Compare;
using CompareOptions = KernelEngine.Benchmarks.Compare.CompareOptions;

namespace KernelEngine.Benchmarks.Plot;

/// <summary>What the command <c>plot</c> was asked for.</summary>
/// <param name="Problem">An operation and its problem, without what varies.</param>
/// <param name="SizeName">The word of the problem that varies, or null for the lengths of attention.</param>
/// <param name="Sizes">Its values, ascending.</param>
/// <param name="Compare">How each problem is measured, and the picture's file.</param>
internal sealed record PlotOptions(string Problem, string? SizeName, IReadOnlyList<int> Sizes, CompareOptions Compare)
{
    public const string Usage =
        """
        plot PROBLEM [--lengths N,N,... | --sizes NAME=N,N,...] [--threads N] [--rounds N] [--sample-ms N] [--output FILE.png]

          PROBLEM         an operation and its problem without what varies: "attention-forward h=8 d=64 causal" without lengths
                          (with q=1 the keys alone have the lengths), "cross-entropy-forward n=512 d=256" without v
          --lengths N,..  of attention: tokens, at least two lengths (512,1024,2048,4096); draws GFLOP/s
          --sizes v=N,..  of any problem: the word that varies and its values, at least two; draws times, and beside that picture
                          one of the memory beyond the operands
          --threads N     threads of every implementation (2)
          --rounds N      rounds of each problem (5)
          --sample-ms N   least length of one sample (100)
          --output FILE   the picture (results/<processor>/<problem>.png); its table goes beside it as Markdown

        Between two numbers, ... stands for doubling: 4096,...,32768 is 4096,8192,16384,32768.
        """;

    /// <summary>The problems, one a size.</summary>
    public IEnumerable<Case> Cases => Sizes.Select(size => Case.Parse(Problem + (SizeName is not null ? Word(SizeName, size)
        : Problem.Split(' ').Any(word => word.StartsWith("q=", StringComparison.Ordinal)) ? Word("k", size)
        : Word("q", size) + Word("k", size))));

    /// <exception cref="FormatException">The problem is missing, or an option is unknown, without value or out of range.</exception>
    public static PlotOptions Parse(ReadOnlySpan<string> args)
    {
        if (args.Length == 0 || args[0].StartsWith('-'))
            throw new FormatException($"The first argument must be an operation and its problem.\n{Usage}");
        string? sizeName = null;
        int[]? sizes = null;
        List<string> rest = ["--rounds", "5"];
        for (int i = 1; i < args.Length; i += 2)
        {
            string value = i + 1 < args.Length ? args[i + 1] : throw new FormatException($"'{args[i]}' has no value.\n{Usage}");
            if (args[i] is "--lengths" or "--sizes" && sizes is not null)
                throw new FormatException("One of '--lengths' and '--sizes' can be given, once.");
            if (args[i] == "--lengths")
                sizes = ParseSizes(args[i], value);
            else if (args[i] == "--sizes" && value.Split('=') is [{ Length: > 0 } name, string numbers])
                (sizeName, sizes) = (name, ParseSizes(args[i], numbers));
            else if (args[i] == "--sizes")
                throw new FormatException($"'--sizes' must be a word and its values, as in v=4096,8192, but is '{value}'.");
            else
                rest.AddRange([args[i], value]);
        }
        if (sizeName is null && !args[0].StartsWith("attention-", StringComparison.Ordinal))
            throw new FormatException($"Only attention has lengths: '{args[0]}' needs '--sizes'.\n{Usage}");
        CompareOptions compare = CompareOptions.Parse([.. rest], Usage);
        return compare is { Problem: null, Only.Count: 0 }
            ? new PlotOptions(args[0], sizeName, sizes ?? [512, 1024, 2048, 4096], compare)
            : throw new FormatException($"'--problem' and '--only' are options of 'compare'.\n{Usage}");
    }

    private static int[] ParseSizes(string option, string text)
    {
        var sizes = new List<int>();
        bool isDoubling = false;
        foreach (string word in text.Split(','))
        {
            if (word == "..." && sizes.Count > 0 && !isDoubling)
            {
                isDoubling = true;
                continue;
            }
            if (!int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int size) || size <= 0)
                throw new FormatException($"'{option}' must have numbers from 1, with commas, but has '{word}'.");
            for (long next = 2L * (isDoubling ? sizes[^1] : size); next < size; next *= 2)
                sizes.Add((int)next);
            sizes.Add(size);
            isDoubling = false;
        }
        int[] sorted = [.. sizes.Distinct().Order()];
        return sorted.Length >= 2 && !isDoubling
            ? sorted
            : throw new FormatException($"'{option}' must have at least two numbers: a line needs two points.");
    }

    private static string Word(string name, int size) => string.Create(CultureInfo.InvariantCulture, $" {name}={size}");
}
