using System.Globalization;
using KernelEngine.Models;
using KernelEngine.Models.Heads;

namespace KernelEngine.Cli;

/// <summary>Which keys attention looks at in a run, as the command line says it.</summary>
internal sealed record AttentionRequest
{
    /// <summary>Every key.</summary>
    public const string Full = "full";

    /// <summary>A span of the last keys for each head, and the first ones, by published rules (arXiv:2406.14909).</summary>
    public const string Moa = "moa";

    /// <summary>For each query the keys with the most codes in common (arXiv:2312.10365).</summary>
    public const string Spt = "spt";

    /// <summary>One of the above.</summary>
    public string Kind { get; init; } = Full;

    /// <summary>Rules of spans; null for none.</summary>
    public string? RulesPath { get; init; }

    /// <summary>Keys to look at: a number, or a share of all tokens such as 1/8.</summary>
    public string Top { get; init; } = "1/8";

    /// <summary>The options of a runner with this attention.</summary>
    /// <param name="options">All others.</param>
    /// <param name="description">The model.</param>
    /// <param name="length">Tokens of prompt and answer; 0 for the model's positions.</param>
    /// <exception cref="ArgumentException">It needs what was not given, or a file is of another model.</exception>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    /// <exception cref="ModelFormatException">A file is malformed.</exception>
    public RunnerOptions Apply(RunnerOptions options, ModelDescription description, int length) => Kind switch
    {
        Moa => options with { HeadWindows = Windows(description, length > 0 ? length : description.MaxPosition) },
        Spt => options with { KeepCount = ReadTop(Top, length > 0 ? length : description.MaxPosition) },
        _ => options,
    };

    /// <summary>Reads a number of keys.</summary>
    /// <param name="text">A whole number, or a share of the length such as 1/8.</param>
    /// <param name="length">Tokens.</param>
    /// <exception cref="ArgumentException">It is neither, or not above 0, or a share above 1.</exception>
    public static int ReadTop(string text, int length)
    {
        string[] parts = text.Split('/');
        if (parts.Length <= 2 && parts.All(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number > 0))
        {
            int[] numbers = [.. parts.Select(part => int.Parse(part, CultureInfo.InvariantCulture))];
            if (numbers.Length == 1)
                return numbers[0];
            if (numbers[0] <= numbers[1])
                return (int)(((long)length * numbers[0] + numbers[1] - 1) / numbers[1]);
        }
        throw new ArgumentException($"--top must be a number of keys or a share of them such as 1/8 but is '{text}'.");
    }

    private Func<int, int, (int SinkCount, int RecentCount)?> Windows(ModelDescription description, int length)
    {
        string path = RulesPath ?? throw new ArgumentException("--attention moa needs the rules of the heads' spans: --spans FILE.");
        MoaRules rules = MoaRules.Load(path);
        CacheRequest.RequireHeads(path, rules.Alphas, description);
        int groupSize = description.Layers[0].NumHeads / rules.Alphas.NumHeads; // rules of key/value heads hold for their groups
        return (layer, head) => MixtureOfSpans.WindowOf(rules.Span(layer, head / groupSize, length), length);
    }
}
