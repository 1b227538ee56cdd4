namespace KernelEngine.Models.Heads;

/// <summary>How <see cref="GateTraining"/> learns; the defaults are those of the published code.</summary>
public sealed record GateTrainingOptions
{
    /// <summary>As published: 2000 steps, a streaming head sees the first 128 and the last 256 tokens.</summary>
    public static GateTrainingOptions Default { get; } = new();

    /// <summary>First tokens that a streaming head sees.</summary>
    public int SinkCount { get; init; } = 128;

    /// <summary>Last tokens that it sees, its own included; at least 1.</summary>
    public int RecentCount { get; init; } = 256;

    /// <summary>Steps, of a text each.</summary>
    public int Steps { get; init; } = 2000;

    /// <summary>Of AdamW, without weight decay; it rises over the first fifth of the steps and falls over the last.</summary>
    public double LearningRate { get; init; } = 0.02;

    /// <summary>λ, the price of a gate's mean: the higher, the fewer heads keep everything.</summary>
    public double Price { get; init; } = 0.05;

    /// <summary>Elements of the final hidden states that must stay as they were; all of them for a trained model.</summary>
    public Range Elements { get; init; } = Range.All;
}
