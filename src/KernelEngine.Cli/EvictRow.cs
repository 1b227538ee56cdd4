namespace KernelEngine.Cli;

/// <summary>What one policy costs at one budget.</summary>
internal sealed record EvictRow
{
    public required string Policy { get; init; }

    /// <summary>Tokens that each key/value head keeps; null for the full cache.</summary>
    public int? Budget { get; init; }

    /// <summary>Slots held, as a share of those of a full cache.</summary>
    public required double KeptShare { get; init; }

    /// <summary>Bytes of keys and values held.</summary>
    public required double CacheBytes { get; init; }

    /// <summary>Share of needles' tokens found, by depth and by whether the question was part of the prompt.</summary>
    public IReadOnlyDictionary<string, double>? NeedleAccuracy { get; init; }

    public double? Perplexity { get; init; }

    public double? Divergence { get; init; }

    public double? Agreement { get; init; }

    public double? OutputError { get; init; }

    public double? TokensPerSecond { get; init; }

    /// <summary>Slots of each cell, [layers][key/value heads].</summary>
    public IReadOnlyList<IReadOnlyList<int>>? KeptSlots { get; init; }
}
