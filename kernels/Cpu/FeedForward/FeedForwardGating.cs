namespace KernelEngine;

/// <summary>What a block of a routed feed-forward layer is multiplied by before the blocks of a token are added.</summary>
public enum FeedForwardGating
{
    /// <summary>Nothing: the router only selects, and gets no gradient.</summary>
    None,

    /// <summary>The block's gate times blocks / active blocks, after the second product.</summary>
    Post,
}
