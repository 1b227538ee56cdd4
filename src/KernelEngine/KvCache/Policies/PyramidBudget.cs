namespace KernelEngine;

/// <summary>
/// PyramidKV (Cai et al. 2024, arXiv:2406.02069): more slots for lower layers, in arithmetic progression. With m = slots − recent,
/// the last layer keeps m / β beside the recent tokens and the first 2m − m / β, so that the mean stays <c>slots</c>.
/// </summary>
/// <param name="slots">Mean slots of a cell.</param>
/// <param name="numLayers">Layers of the model.</param>
/// <param name="recentCount">Tokens that every layer keeps at the end, out of the slots.</param>
/// <param name="beta">How steep it is: 20 in the paper, 1 for a uniform budget.</param>
public sealed class PyramidBudget(int slots, int numLayers, int recentCount = 32, double beta = 20) : KvBudget
{
    /// <inheritdoc/>
    public override int? MaxSlots => 2 * Math.Max(0, slots - recentCount) + recentCount;

    /// <inheritdoc/>
    public override int MeanSlots(KvLayer layer, int length)
    {
        ArgumentNullException.ThrowIfNull(layer);
        double mean = Math.Max(0, slots - recentCount), least = mean / beta, most = 2 * mean - least;
        if (most > length - recentCount)
            (most, least) = (length - recentCount, 2 * mean - (length - recentCount));
        double own = numLayers > 1 ? most - layer.Index * (most - least) / (numLayers - 1) : mean;
        return Math.Max(1, (int)Math.Round(own) + recentCount);
    }
}
