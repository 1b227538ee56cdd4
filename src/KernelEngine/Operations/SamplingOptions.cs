namespace KernelEngine;

/// <summary>How a token is drawn from logits; <see cref="SampleProblem"/> defines each step and their order.</summary>
public sealed record SamplingOptions
{
    /// <summary>Temperature 1, nothing cut off.</summary>
    public static SamplingOptions Default { get; } = new();

    /// <summary>Temperature 0: always the largest logit.</summary>
    public static SamplingOptions Greedy { get; } = new() { Temperature = 0 };

    /// <summary>Divides the logits: finite, not negative; 0 for the largest logit.</summary>
    public float Temperature { get; init; } = 1;

    /// <summary>How many of the most probable tokens to keep at most; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>The share of probability to keep, 0 to 1; 1 for all.</summary>
    public float TopP { get; init; } = 1;

    /// <summary>The least probability relative to the largest, 0 to 1; 0 for all.</summary>
    public float MinP { get; init; }
}
