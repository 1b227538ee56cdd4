namespace KernelEngine;

/// <summary>
/// DuoAttention (Xiao et al. 2024, arXiv:2410.10819): retrieval heads keep all, the others the first and the last tokens.
/// </summary>
/// <param name="isFull">Whether the key/value head (layer, head) is a retrieval head.</param>
/// <param name="sinkCount">First tokens that the others keep: 64 in the published deployments.</param>
/// <param name="recentCount">Last tokens that they keep: 256 there.</param>
public sealed class DuoAttention(Func<int, int, bool> isFull, int sinkCount = 64, int recentCount = 256) : WindowPolicy
{
    private readonly Func<int, int, bool> _isFull = isFull ?? throw new ArgumentNullException(nameof(isFull));

    /// <inheritdoc/>
    public override string Name => "duo";

    /// <inheritdoc/>
    protected override (int SinkCount, int RecentCount)? Window(int layer, int cell) => _isFull(layer, cell) ? null : (sinkCount, recentCount);
}
