namespace KernelEngine;

/// <summary>
/// AdaKV (Feng et al. 2024, arXiv:2407.11550): the cells of a layer compete for its slots, so that heads that look at little give
/// slots to heads that look at much. Each cell first gets its best ⌊guard · n⌋ of its fair share n; the rest goes to the best
/// scores of the layer, wherever they are.
/// </summary>
/// <param name="inner">The fair share of each cell.</param>
/// <param name="guard">Share of the fair share that no other cell can take, 0 to 1.</param>
public sealed class AdaptiveBudget(KvBudget inner, double guard = 0.2) : KvBudget
{
    private readonly double _guard = guard is >= 0 and <= 1 ? guard : throw new ArgumentOutOfRangeException(nameof(guard), guard, "The guarded share must be 0 to 1.");

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
        var shares = new int[step.Layer.Cells.Count];
        var guarded = new int[shares.Length];
        for (int h = 0; h < shares.Length; h++)
        {
            shares[h] = Share(step, h);
            guarded[h] = step.AppliesTo(h) ? (int)(_guard * shares[h]) : shares[h];
        }
        step.Guard(guarded);
        return step.Select(shares, isPooled: true);
    }

    // What a cell outside of the policy keeps is no one else's: all of it counts, and is guarded.
    private int Share(KvStep step, int cell)
    {
        int length = step.Layer.Cells[cell].Length;
        return step.AppliesTo(cell) ? MeanSlots(step.Layer, length) : length;
    }
}
