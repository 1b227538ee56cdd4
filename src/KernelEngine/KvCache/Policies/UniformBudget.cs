namespace KernelEngine;

/// <summary>The same number of slots for every cell.</summary>
/// <param name="slots">Slots of a cell, at least 1.</param>
public sealed class UniformBudget(int slots) : KvBudget
{
    private readonly int _slots = slots >= 1 ? slots : throw new ArgumentOutOfRangeException(nameof(slots), slots, "A cell keeps at least one slot.");

    /// <inheritdoc/>
    public override int? MaxSlots => _slots;

    /// <inheritdoc/>
    public override int MeanSlots(KvLayer layer, int length) => _slots;
}
