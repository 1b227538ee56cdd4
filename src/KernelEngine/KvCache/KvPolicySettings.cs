namespace KernelEngine;

/// <summary>What the policies of <see cref="KvPolicyList"/> are made from; each takes what it needs.</summary>
public sealed record KvPolicySettings
{
    /// <summary>Slots that a cell keeps; on average, where cells compete.</summary>
    public int Budget { get; init; } = 256;

    /// <summary>First tokens that are kept, where a policy keeps some.</summary>
    public int SinkCount { get; init; } = 4;

    /// <summary>Decoding steps from one eviction to the next.</summary>
    public int Interval { get; init; } = 1;

    /// <summary>When tokens are dropped; null for when the policy's authors do.</summary>
    public KvPhases? Phases { get; init; }

    /// <summary>Which cells may lose tokens, by layer and key/value head; null for all.</summary>
    public Func<int, int, bool>? Applies { get; init; }

    /// <summary>Whether each token of a prompt sees of a window what the window holds for it, whatever the chunks.</summary>
    public bool HasStrictWindows { get; init; }

    /// <summary>Layers of the model.</summary>
    public int NumLayers { get; init; } = 1;

    /// <summary>Tokens of prompt and answer at the most.</summary>
    public int Length { get; init; } = 4096;

    /// <summary>Whether a key/value head keeps everything, by layer and head; for policies that divide heads in two kinds.</summary>
    public Func<int, int, bool>? IsFullHead { get; init; }

    /// <summary>The span of a key/value head in tokens, by layer and head; for policies with a span a head.</summary>
    public Func<int, int, double>? Span { get; init; }

    /// <summary>Trained networks that score tokens, one a layer.</summary>
    public IReadOnlyList<RetainingNetwork>? Networks { get; init; }

    /// <summary>Seed of what is random.</summary>
    public int Seed { get; init; } = 1;
}
