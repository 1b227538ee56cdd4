namespace KernelEngine;

/// <summary>
/// H2O (Zhang et al. 2023, arXiv:2306.14048): keeps the slots that all queries so far gave the most weight, and the last ones. What a
/// dropped slot had gathered is gone.
/// </summary>
/// <param name="budget">How many slots cells keep, the last ones included.</param>
/// <param name="recentShare">Share of them that are the last ones: a half in the paper.</param>
public sealed class HeavyHitters(KvBudget budget, double recentShare = 0.5) : ScoringPolicy(budget)
{
    private readonly double _recentShare = recentShare is >= 0 and <= 1
        ? recentShare
        : throw new ArgumentOutOfRangeException(nameof(recentShare), recentShare, "The share of the last slots must be 0 to 1.");

    /// <inheritdoc/>
    public override string Name => "h2o";

    /// <inheritdoc/>
    public override bool SumsWeights => true;

    /// <inheritdoc/>
    protected override void Score(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        IReadOnlyList<KvCell> cells = step.Layer.Cells;
        int[] recents = [.. cells.Select(cell => Math.Max(0, cell.Length - (int)(_recentShare * Budget.MeanSlots(step.Layer, cell.Length))))];
        step.SetScores((h, scores) =>
        {
            cells[h].Statistics.CopyTo(scores);
            scores[recents[h]..].Fill(float.PositiveInfinity);
        });
    }
}
