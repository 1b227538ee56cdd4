namespace KernelEngine;

/// <summary>
/// Selective value loading (Lin et al. 2025, Sigma's DiffQKV, arXiv:2501.13629): everything is kept, but a token that is generated
/// reads the values of the largest weights alone. The output lacks (1 − their weight) · max‖value‖ at the most.
/// </summary>
public sealed class SelectiveValues : KvPolicy
{
    private readonly int _count;

    /// <summary>Keeps everything, and reads so many values.</summary>
    /// <param name="count">Values that each query head reads, at least 1; the heads of a group join theirs.</param>
    public SelectiveValues(int count = 100)
    {
        _count = count >= 1 ? count : throw new ArgumentOutOfRangeException(nameof(count), count, "At least one value is read.");
        Phases = KvPhases.None;
    }

    /// <inheritdoc/>
    public override string Name => "selective-values";

    /// <inheritdoc/>
    public override int ValueCount => _count;

    /// <inheritdoc/>
    public override void Evict(KvStep step)
    {
    }
}
