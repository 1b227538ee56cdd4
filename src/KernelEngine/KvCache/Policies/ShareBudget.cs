namespace KernelEngine;

/// <summary>The same share of each cell's slots: ⌊share · length⌋, at least one.</summary>
/// <param name="share">Kept share, above 0 and at most 1.</param>
public sealed class ShareBudget(double share) : KvBudget
{
    private readonly double _share = share is > 0 and <= 1 ? share : throw new ArgumentOutOfRangeException(nameof(share), share, "The kept share must be above 0 and at most 1.");

    /// <inheritdoc/>
    public override int? MaxSlots => null;

    /// <inheritdoc/>
    public override int MeanSlots(KvLayer layer, int length) => Math.Max(1, (int)(length * _share));
}
