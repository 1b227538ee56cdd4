namespace KernelEngine;

/// <summary>What a policy itself keeps of a layer between steps.</summary>
public interface IKvPolicyState
{
    /// <summary>A copy, for a cache that goes its own way.</summary>
    IKvPolicyState Copy();
}
