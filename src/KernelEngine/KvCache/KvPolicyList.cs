namespace KernelEngine;

/// <summary>Every policy by its name. The command line, the tests and the evaluation read this list.</summary>
public static class KvPolicyList
{
    private const char Separator = ':';

    /// <summary>All policies.</summary>
    public static IReadOnlyList<KvPolicyEntry> All { get; } =
    [
        new("full", "everything", (s, _) => new FullCache()),
        new("streaming", "the first tokens and the last", (s, _) => new StreamingLlm(s.Budget, s.SinkCount)),
        new("streaming-reindexed", "the same, at positions within the cache: texts without end",
            (s, _) => new StreamingLlm(s.Budget, s.SinkCount, isReindexed: true)),
        new("duo", "everything in retrieval heads, the first and the last tokens in others",
            (s, _) => new DuoAttention(FullHeads(s, "duo"), s.SinkCount, s.Budget - s.SinkCount)),
        new("razor", "as duo, with one slot that stands for the dropped tokens",
            (s, _) => new RazorAttention(FullHeads(s, "razor"), s.Budget - s.SinkCount - 1, int.MaxValue, s.SinkCount)),
        new("razor-alibi", "in models with linear biases, the tokens that each head can look back to",
            (s, _) => new RazorAlibi(s.Span ?? throw Missing("razor-alibi", "the scopes of the heads"))),
        new("moa", "the first tokens and the last of a span for each head",
            (s, _) => new MixtureOfSpans(s.Span ?? throw Missing("moa", "the spans of the heads"), s.Length)),
        new("h2o", "what all queries gave most weight", (_, budget) => new HeavyHitters(budget)),
        new("snapkv", "what the last queries gave most weight", (s, budget) => new SnapKv(budget, Math.Clamp(s.Budget / 2, 1, 32))),
        new("tova", "what the last query gave most weight", (_, budget) => new Tova(budget)),
        new("knorm", "keys with the smallest norms", (s, budget) => new KeyNorm(budget, s.SinkCount)),
        new("expected", "what queries to come are expected to need", (s, budget) => new ExpectedAttention(budget, s.SinkCount)),
        new("ems", "what had most weight, the next merged into it",
            (s, budget) => new EvictThenMerge(budget) { SinkCount = s.SinkCount, RecentCount = Math.Min(32, s.Budget / 2) }),
        new("locret", "what a trained network scores highest",
            (s, _) => new RetainingHeads(s.Networks ?? throw Missing("locret", "trained networks"), s.Budget, s.Budget / 2, s.Budget / 8)
            {
                SinkCount = s.SinkCount,
            }),
        new("selective-values", "everything, of which a query reads the values of the largest weights",
            (s, _) => new SelectiveValues(s.Budget)),
        new("longheads", "everything, of which a new token sees the chunks most like its query", (s, _) => new LongHeads(s.Budget)),
        new("random", "slots at random", (s, budget) => new RandomSlots(budget, s.Seed, s.SinkCount)),
    ];

    /// <summary>Budgets that may stand before the name of a scoring policy: <c>ada:snapkv</c>.</summary>
    public static IReadOnlyList<string> Budgets { get; } = ["ada", "ada-floor", "pyramid"];

    /// <summary>Makes a policy: a name of the list, after budgets that wrap it.</summary>
    /// <param name="text">As in <c>snapkv</c>, <c>ada:snapkv</c>, <c>ada:pyramid:h2o</c>.</param>
    /// <param name="settings">What it is made from.</param>
    /// <exception cref="ArgumentException">There is no such name, or the settings lack what the policy needs.</exception>
    public static KvPolicy Create(string text, KvPolicySettings settings)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(settings);
        string[] words = text.Split(Separator);
        KvBudget budget = new UniformBudget(settings.Budget);
        foreach (string word in words[..^1].Reverse())
        {
            budget = word switch
            {
                "ada" => new AdaptiveBudget(budget),
                "ada-floor" => new FlooredBudget(budget),
                "pyramid" => new PyramidBudget(settings.Budget, settings.NumLayers),
                _ => throw new ArgumentException($"There is no budget '{word}'. Known: {string.Join(", ", Budgets)}.", nameof(text)),
            };
        }
        KvPolicyEntry entry = All.FirstOrDefault(policy => policy.Name == words[^1])
            ?? throw new ArgumentException(
                $"There is no policy '{words[^1]}'. Known: {string.Join(", ", All.Select(policy => policy.Name))}.", nameof(text));
        return entry.Create(settings, budget).Configure(settings);
    }

    private static Func<int, int, bool> FullHeads(KvPolicySettings settings, string name) =>
        settings.IsFullHead ?? throw Missing(name, "the heads that keep everything");

    private static ArgumentException Missing(string name, string what) => new($"The policy '{name}' needs {what}.");
}
