namespace KernelEngine;

/// <summary>Keeps everything.</summary>
public sealed class FullCache : KvPolicy
{
    /// <summary>Keeps everything.</summary>
    public FullCache() => Phases = KvPhases.None;

    /// <inheritdoc/>
    public override string Name => "full";

    /// <inheritdoc/>
    public override void Evict(KvStep step)
    {
    }
}
