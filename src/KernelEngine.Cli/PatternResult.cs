namespace KernelEngine.Cli;

/// <summary>What <c>pattern</c> found out.</summary>
internal sealed record PatternResult
{
    public required string Pattern { get; init; }

    public required int Length { get; init; }

    public required int Heads { get; init; }

    public required int Block { get; init; }

    /// <summary>Pairs of a row and a key that it sees, over all heads with lists of their own.</summary>
    public required long Pairs { get; init; }

    /// <summary>Pairs over those of dense attention, causal if the pattern is.</summary>
    public required double Density { get; init; }

    /// <summary>4 · pairs · headDim, of the forward pass.</summary>
    public required double Flops { get; init; }

    public required double DenseFlops { get; init; }

    public string? Picture { get; init; }
}
