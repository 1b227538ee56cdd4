namespace KernelEngine;

/// <summary>
/// SnapKV (Li et al. 2024, arXiv:2404.14469): the last queries of the prompt point at what its answer will need. A slot's score is
/// their mean weight on it, smoothed over its neighbours; the slots of those queries are kept.
/// </summary>
/// <param name="budget">How many slots cells keep, the window included.</param>
/// <param name="window">Last queries that are looked at: 32 in the published code.</param>
/// <param name="kernel">Slots that are smoothed over, odd: 5 or 7 there.</param>
public sealed class SnapKv(KvBudget budget, int window = 32, int kernel = 5) : ScoringPolicy(budget)
{
    /// <inheritdoc/>
    public override string Name => "snapkv";

    /// <inheritdoc/>
    public override int QueryWindow => window;

    /// <summary>How neighbours are smoothed: by their maximum or by their mean.</summary>
    public KvPooling Pooling { get; init; } = KvPooling.Max;

    /// <summary>How the weights of the heads of a group become one.</summary>
    public KvAggregate Aggregate { get; init; }

    /// <inheritdoc/>
    protected override void Score(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        TensorView weights = step.SumWeights(out int rows);
        KvCells.Score(weights, step.Layer.Lengths.Join(0), step.Scores, new KvScoreOptions
        {
            Aggregate = Aggregate,
            Pooling = Pooling,
            PoolSize = kernel,
            RecentCount = rows,
            Scale = 1f / rows,
        });
    }
}
