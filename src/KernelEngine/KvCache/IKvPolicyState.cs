namespace KernelEngine;

/// <summary>What a policy itself keeps of a layer between steps.</summary>
public interface IKvPolicyState
{
    /// <summary>Bytes of it.</summary>
    long Bytes { get; }

    /// <summary>A copy, for a cache that goes its own way.</summary>
    IKvPolicyState Copy();

    /// <summary>What is left of it when the tokens from <paramref name="position"/> on are forgotten; null to begin anew.</summary>
    IKvPolicyState? Truncate(int position);
}
