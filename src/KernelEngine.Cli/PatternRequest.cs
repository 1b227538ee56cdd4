namespace KernelEngine.Cli;

/// <summary>What <c>pattern</c> was asked for.</summary>
internal sealed record PatternRequest
{
    /// <summary>The names, as the command line takes them.</summary>
    public static string[] Names { get; } = ["window", "moa", "s2-attn", "sf-attn", "bigbird", "longformer", "strided"];

    public required string Name { get; init; }

    public int Length { get; init; }

    public int Window { get; init; }

    public int Sinks { get; init; }

    public int Block { get; init; }

    public int Group { get; init; }

    public int Random { get; init; }

    public IReadOnlyList<int> Globals { get; init; } = [];

    public IReadOnlyList<double> Spans { get; init; } = [];

    public bool IsBidirectional { get; init; }

    public int Heads { get; init; }

    public int Seed { get; init; }

    /// <summary>Makes the pattern.</summary>
    /// <exception cref="ArgumentException">It needs what was not given, or sizes do not fit.</exception>
    public AttentionPattern Create()
    {
        switch (Name)
        {
            case "window":
                return AttentionPatterns.SlidingWindow(Length, Window, Sinks, Block);
            case "moa":
                return AttentionPatterns.MixtureOfSpans(Length, Spans.Count > 0 ? Spans : throw new ArgumentException("A moa pattern needs the spans of its heads: --spans."));
            case "s2-attn":
                return AttentionPatterns.ShiftedGroups(Length, Group > 0 ? Group : Length / 4, 0, Math.Min(4, Block));
            case "sf-attn":
                return AttentionPatterns.ShiftedGroups(Length, Group > 0 ? Group : Length / 4, Sinks, Math.Min(4, Block));
            case "bigbird":
                return AttentionPatterns.BigBird(Length, Block, 3, Random, !IsBidirectional, Seed, Heads);
            case "longformer":
                return AttentionPatterns.Longformer(Length, Math.Max(1, Window / 2 / Block), Globals, Block, isCausal: !IsBidirectional);
            default:
                return AttentionPatterns.Strided(Length, Math.Max(1, Window / Block), Block);
        }
    }
}
