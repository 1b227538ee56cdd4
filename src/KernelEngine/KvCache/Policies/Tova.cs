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
        KvLayer layer = step.Layer;
        KvCells.Score(step.SumWeights(out _), layer.Lengths.Join(0), step.Scores, new KvScoreOptions { Aggregate = KvAggregate.Sum });
        float[] own = step.ReadScores();
        int capacity = layer.Capacity;
        // Cells that the policy does not apply to hold more tokens: those of the longest are all there are.
        KvCell longest = layer.Cells.MaxBy(cell => cell.Length)!;
        var sums = new float[longest.Length];
        var places = new int[own.Length];
        for (int h = 0; h < layer.Cells.Count; h++)
        {
            ReadOnlySpan<int> positions = layer.Cells[h].Positions;
            for (int slot = 0, place = 0; slot < positions.Length; slot++, place++)
            {
                while (longest.Positions[place] < positions[slot])
                    place++;
                places[h * capacity + slot] = place;
                sums[place] += own[h * capacity + slot];
            }
        }
        step.SetScores((h, slot) =>
            slot == layer.Cells[h].Length - 1 ? float.PositiveInfinity : sums[places[h * capacity + slot]] / step.NumHeads);
    }
}
