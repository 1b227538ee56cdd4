namespace KernelEngine;

/// <summary>Where the bytes of a cache are.</summary>
/// <param name="PayloadUsed">Keys, values and scales of the slots in use.</param>
/// <param name="PayloadReserved">Those of all pages held, in use or free.</param>
/// <param name="Metadata">Positions, biases and statistics of slots, page tables and lengths.</param>
/// <param name="PolicyState">What a policy keeps between steps: queries, sums, scores.</param>
public readonly record struct KvBytes(long PayloadUsed, long PayloadReserved, long Metadata, long PolicyState)
{
    /// <summary>All that is held.</summary>
    public long Total => PayloadReserved + Metadata + PolicyState;

    /// <summary>Adds part by part.</summary>
    public static KvBytes operator +(KvBytes a, KvBytes b) => new(
        a.PayloadUsed + b.PayloadUsed, a.PayloadReserved + b.PayloadReserved, a.Metadata + b.Metadata, a.PolicyState + b.PolicyState);

    /// <summary>Adds part by part.</summary>
    public static KvBytes Add(KvBytes left, KvBytes right) => left + right;
}
