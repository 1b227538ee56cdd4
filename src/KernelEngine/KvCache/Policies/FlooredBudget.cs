namespace KernelEngine;

/// <summary>
/// AdaKV as its paper has it (Feng et al. 2024, arXiv:2407.11550): of the best m slots a cell of a layer, a cell with c of them may keep
/// (1 − floor) · c + ⌊floor · m⌋ beside what is protected, rounded so that the layer keeps as many as with equal budgets; each then
/// keeps its own best. <see cref="AdaptiveBudget"/> is the form of later code.
/// </summary>
/// <param name="inner">The fair share of each cell, what is protected included.</param>
/// <param name="floor">Share of the fair share that every cell has for itself, 0 to 1: a half in the published code.</param>
public sealed class FlooredBudget(KvBudget inner, double floor = 0.5) : KvBudget
{
    private readonly double _floor = floor is >= 0 and <= 1
        ? floor
        : throw new ArgumentOutOfRangeException(nameof(floor), floor, "The floor must be 0 to 1.");

    /// <inheritdoc/>
    public override int? MaxSlots => null;

    /// <inheritdoc/>
    public override int MeanSlots(KvLayer layer, int length) => inner.MeanSlots(layer, length);

    /// <inheritdoc/>
    public override bool IsExceeded(KvStep step) => ExcessOf(step, MeanSlots) > 0;

    /// <inheritdoc/>
    public override (int[] Kept, int[] Counts) Select(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        KvLayer layer = step.Layer;
        float[] scores = step.ReadScores();
        int[] shares = [.. layer.Cells.Select((cell, h) => step.AppliesTo(h) ? MeanSlots(layer, cell.Length) : cell.Length)];
        step.Guard([.. shares.Select((share, h) => step.AppliesTo(h) ? 0 : share)]);
        (_, int[] counts) = step.Select(shares, isPooled: true);

        var budgets = new int[shares.Length];
        var remainders = new double[shares.Length];
        int left = 0;
        for (int h = 0; h < shares.Length; h++)
        {
            int length = layer.Cells[h].Length;
            if (!step.AppliesTo(h))
            {
                budgets[h] = length;
                continue;
            }
            int kept = scores.AsSpan(h * layer.Capacity, length).Count(float.PositiveInfinity), own = Math.Max(0, shares[h] - kept);
            double wanted = (1 - _floor) * Math.Max(0, counts[h] - kept) + Math.Floor(_floor * own);
            budgets[h] = Math.Min(length, kept + (int)wanted);
            remainders[h] = wanted - Math.Floor(wanted);
            left += Math.Max(kept, shares[h]) - budgets[h];
        }
        int[] order = [.. Enumerable.Range(0, shares.Length).OrderByDescending(h => remainders[h])];
        for (bool isGiven = true; left > 0 && isGiven;)
        {
            isGiven = false;
            foreach (int h in order)
            {
                if (left == 0 || budgets[h] >= layer.Cells[h].Length)
                    continue;
                (budgets[h], left, isGiven) = (budgets[h] + 1, left - 1, true);
            }
        }
        return step.Select(budgets);
    }
}
