namespace KernelEngine;

/// <summary>
/// TOVA (Oren et al. 2024, arXiv:2401.06104): drops what the last query gives the least weight, averaged over all heads of the layer,
/// so that every head keeps the same tokens; the last token stays.
/// </summary>
/// <param name="budget">How many slots cells keep.</param>
public sealed class Tova(KvBudget budget) : ScoringPolicy(budget)
{
    /// <inheritdoc/>
    public override string Name => "tova";

    /// <inheritdoc/>
    public override int QueryWindow => 1;

    /// <inheritdoc/>
    protected override void Score(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        _ = step.SumWeights(1, out _);
        float[] weights = step.ReadWeights();
        int capacity = step.Layer.Capacity, groupSize = step.NumHeads / step.Layer.Cells.Count;
        // By position: cells that the policy does not apply to may hold other tokens.
        var sums = new Dictionary<int, float>();
        for (int head = 0; head < step.NumHeads; head++)
        {
            KvCell cell = step.Layer.Cells[head / groupSize];
            for (int slot = 0; slot < cell.Length; slot++)
                sums[cell.Positions[slot]] = sums.GetValueOrDefault(cell.Positions[slot]) + weights[head * capacity + slot];
        }
        step.SetScores((h, slot) =>
        {
            KvCell cell = step.Layer.Cells[h];
            return slot == cell.Length - 1 ? float.PositiveInfinity : sums[cell.Positions[slot]] / step.NumHeads;
        });
    }
}
