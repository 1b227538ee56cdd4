namespace KernelEngine;

/// <summary>
/// KNorm (Devoto et al. 2024, arXiv:2406.11430): keys with a small norm attract attention, so the slots with the largest are dropped.
/// </summary>
/// <param name="budget">How many slots cells keep.</param>
/// <param name="sinkCount">First slots that are kept.</param>
/// <param name="recentCount">Last slots that are kept.</param>
public sealed class KeyNorm(KvBudget budget, int sinkCount = 0, int recentCount = 0) : ScoringPolicy(budget)
{
    /// <inheritdoc/>
    public override string Name => "knorm";

    /// <inheritdoc/>
    protected override void Score(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        KvLayer layer = step.Layer;
        using Tensor norms = Tensor.Allocate(layer.Device, DataType.Float32, layer.Cells.Count, layer.Capacity);
        KvRows rows = layer.Read();
        KvCells.Norms(rows.Key, rows.Value, rows.PageTable, rows.Lengths, norms, default, rows.Inputs.KeyScale, rows.Inputs.ValueScale);
        KvCells.Score(norms, layer.Lengths.Join(0), step.Scores, new KvScoreOptions { Scale = -1f, SinkCount = sinkCount, RecentCount = recentCount });
    }
}
