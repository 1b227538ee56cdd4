namespace KernelEngine.Models.Heads;

/// <summary>What <see cref="MoaPlanner"/> chooses from and keeps to; the defaults are the published ones.</summary>
public sealed record MoaPlanOptions
{
    /// <summary>As published: half of the blocks.</summary>
    public static MoaPlanOptions Default { get; } = new();

    /// <summary>Mean share of the blocks that heads may see, at each length that was profiled.</summary>
    public double Density { get; init; } = 0.5;

    /// <summary>
    /// Share of <see cref="Density"/> that is used at least, as far as layers can be made denser within it; 0 to use no more than what
    /// lowers the loss.
    /// </summary>
    public double LeastUse { get; init; } = 0.9;

    /// <summary>Tokens from one α to the next.</summary>
    public int AlphaStep { get; init; } = 1024;

    /// <summary>Spans are no longer than the text up to this length; 0 for twice the longest that was profiled.</summary>
    public int MaxLength { get; init; }
}
