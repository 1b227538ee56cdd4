namespace KernelEngine;

/// <summary>Keeps slots at random, the first ones always: what any other policy must beat.</summary>
/// <param name="budget">How many slots cells keep.</param>
/// <param name="seed">Which slots.</param>
/// <param name="sinkCount">First slots that are kept.</param>
public sealed class RandomSlots(KvBudget budget, int seed = 1, int sinkCount = 2) : ScoringPolicy(budget)
{
    /// <inheritdoc/>
    public override string Name => "random";

    /// <inheritdoc/>
    protected override void Score(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        step.SetScores((h, slot) => slot < sinkCount
            ? float.PositiveInfinity
            : Hash((uint)seed, (uint)step.Layer.Index, (uint)h, (uint)step.Layer.Cells[h].Positions[slot]));
    }

    // A number that a slot keeps for life (the finaliser of MurmurHash3 over what identifies it).
    private static uint Hash(params ReadOnlySpan<uint> words)
    {
        uint hash = 0;
        foreach (uint word in words)
        {
            hash = unchecked((hash ^ word) * 0x9E3779B1);
            hash ^= hash >> 16;
            hash = unchecked(hash * 0x85EBCA6B);
            hash ^= hash >> 13;
        }
        return hash;
    }
}
