namespace KernelEngine.Models.Induction;

/// <summary>The sharpness of the heads of an <see cref="InductionModel"/>.</summary>
public sealed record InductionModelOptions
{
    /// <summary>One-hot attention wherever a head looks for one position.</summary>
    public static InductionModelOptions Default { get; } = new();

    /// <summary>Attention that spreads, so that evictions show gradually.</summary>
    public static InductionModelOptions Graded { get; } = new() { PreviousTokenSharpness = 8, MatchSharpness = 8 };

    /// <summary>Sharpness of the head that looks at the token before: its score falls by this times Σ (1 − cos θ).</summary>
    public double PreviousTokenSharpness { get; init; } = 40;

    /// <summary>Sharpness of the heads that compare tokens: the score of a match.</summary>
    public double MatchSharpness { get; init; } = 30;

    /// <summary>
    /// Query heads a key/value head; those beyond the first attend to everything alike and write to the scratch block.
    /// </summary>
    public int GroupSize { get; init; } = 1;

    /// <summary>Positions of the model. Its sink head needs at most 7800.</summary>
    public int MaxPosition { get; init; } = 8192;
}
