namespace KernelEngine;

/// <summary>Decides how many slots each cell keeps, given the scores of all; wraps any scorer.</summary>
public abstract class KvBudget
{
    /// <summary>The most slots that a cell can keep, or null when there is no bound.</summary>
    public abstract int? MaxSlots { get; }

    /// <summary>The mean number of slots that a cell of a layer keeps.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="length">Slots that a cell has now.</param>
    public abstract int MeanSlots(KvLayer layer, int length);

    /// <summary>Whether a layer holds more than it may.</summary>
    public virtual bool IsExceeded(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        for (int h = 0; h < step.Layer.Cells.Count; h++)
        {
            int length = step.Layer.Cells[h].Length;
            if (step.AppliesTo(h) && length > MeanSlots(step.Layer, length))
                return true;
        }
        return false;
    }

    /// <summary>Chooses the best slots of a layer: [numKvHeads, capacity], ascending, and how many of each cell.</summary>
    /// <param name="step">The layer, with the scores of its slots, and which cells may lose some.</param>
    public virtual (int[] Kept, int[] Counts) Select(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        var budgets = new int[step.Layer.Cells.Count];
        for (int h = 0; h < budgets.Length; h++)
            budgets[h] = step.AppliesTo(h) ? MeanSlots(step.Layer, step.Layer.Cells[h].Length) : int.MaxValue;
        return step.Select(budgets);
    }

    // How many slots more a layer holds than cells that share budgets may; what a cell outside of the policy holds is no one else's.
    private protected static long ExcessOf(KvStep step, Func<KvLayer, int, int> share)
    {
        ArgumentNullException.ThrowIfNull(step);
        long excess = 0;
        for (int h = 0; h < step.Layer.Cells.Count; h++)
        {
            int length = step.Layer.Cells[h].Length;
            excess += step.AppliesTo(h) ? length - share(step.Layer, length) : 0;
        }
        return excess;
    }
}
