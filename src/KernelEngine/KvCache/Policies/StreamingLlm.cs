namespace KernelEngine;

/// <summary>
/// StreamingLLM (Xiao et al. 2023, arXiv:2309.17453): every cell keeps the first tokens, which attention falls back on, and the last.
/// With re-indexed positions, as in the paper, a text may go on for ever.
/// </summary>
/// <param name="budget">Tokens that a cell keeps, above the sinks.</param>
/// <param name="sinkCount">First tokens among them: 4 in the paper.</param>
/// <param name="isReindexed">True for positions within the cache, as in the paper; false for those of the text.</param>
public sealed class StreamingLlm(int budget, int sinkCount = 4, bool isReindexed = false) : WindowPolicy
{
    private readonly int _recentCount = budget > sinkCount && sinkCount >= 0
        ? budget - sinkCount
        : throw new ArgumentOutOfRangeException(nameof(budget), budget, $"The budget must be above the {sinkCount} sinks.");

    /// <inheritdoc/>
    public override string Name => "streaming";

    /// <inheritdoc/>
    public override KvPositions Positions => isReindexed ? KvPositions.ReindexedOnRead : KvPositions.Original;

    /// <inheritdoc/>
    protected override (int SinkCount, int RecentCount)? Window(int layer, int cell) => (sinkCount, _recentCount);
}
