using System.Collections.Immutable;

namespace KernelEngine.Models;

/// <summary>How a text is continued.</summary>
public sealed record GenerationOptions
{
    /// <summary>Greedy, to the end of the model's positions.</summary>
    public static GenerationOptions Default { get; } = new();

    /// <summary>New tokens at most.</summary>
    public int MaxTokens { get; init; } = int.MaxValue;

    /// <summary>How each token is chosen.</summary>
    public SamplingOptions Sampling { get; init; } = SamplingOptions.Greedy;

    /// <summary>Seed of the random numbers; equal seeds give equal texts on the same device.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Tokens that end the text and are not part of it; default for those of the model.</summary>
    public ImmutableArray<int> StopTokens { get; init; }
}
