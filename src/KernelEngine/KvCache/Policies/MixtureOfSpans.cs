namespace KernelEngine;

/// <summary>
/// MoA (Fu et al. 2024, arXiv:2406.14909): each head has a span of its own, which grows with the length of the input by its own rule;
/// 64 tokens of it are the first ones, the rest the last.
/// </summary>
/// <param name="span">The span in tokens of the key/value head (layer, head), for the length that the request was made with.</param>
/// <param name="length">Tokens of the prompt and of the answer at the most: a span of so many keeps all.</param>
/// <param name="sinkCount">First tokens of every span.</param>
public sealed class MixtureOfSpans(Func<int, int, double> span, int length, int sinkCount = 64) : WindowPolicy
{
    private const int LeastSpan = 128, Block = 64; // as published: spans are whole blocks, two at least

    private readonly Func<int, int, double> _span = span ?? throw new ArgumentNullException(nameof(span));

    /// <inheritdoc/>
    public override string Name => "moa";

    /// <summary>The first and last tokens of a span, in whole blocks; null when it holds all.</summary>
    /// <param name="span">Tokens.</param>
    /// <param name="length">Tokens of the prompt and of the answer at the most.</param>
    /// <param name="sinkCount">First tokens of every span.</param>
    public static (int SinkCount, int RecentCount)? WindowOf(double span, int length, int sinkCount = 64)
    {
        double tokens = Math.Min(Math.Floor(span), length);
        int blocks = Math.Max(LeastSpan, ((int)tokens + Block - 1) / Block * Block);
        return blocks >= length || blocks <= sinkCount ? null : (sinkCount, blocks - sinkCount);
    }

    /// <inheritdoc/>
    protected override (int SinkCount, int RecentCount)? Window(int layer, int cell) => WindowOf(_span(layer, cell), length, sinkCount);
}
