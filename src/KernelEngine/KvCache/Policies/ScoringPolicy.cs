namespace KernelEngine;

/// <summary>
/// What policies have in common that score each slot and keep the best: the budget says how many of which cell, so that any budget
/// goes with any score.
/// </summary>
/// <param name="budget">How many slots cells keep.</param>
public abstract class ScoringPolicy(KvBudget budget) : KvPolicy
{
    /// <summary>How many slots cells keep.</summary>
    public KvBudget Budget { get; } = budget ?? throw new ArgumentNullException(nameof(budget));

    /// <inheritdoc/>
    public override int? MaxSlots(int layer, int cell) => Budget.MaxSlots;

    /// <summary>Fills <see cref="KvStep.Scores"/>: higher is better, +∞ is kept whatever the budget.</summary>
    protected abstract void Score(KvStep step);

    /// <inheritdoc/>
    public override void Evict(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        if (!Budget.IsExceeded(step))
            return;
        Score(step);
        Budget.Select(step);
        step.KeepChosen();
    }
}
