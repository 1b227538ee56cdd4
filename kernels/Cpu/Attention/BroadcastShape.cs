namespace KernelEngine;

/// <summary>
/// The dimensions of [batchSize, numHeads, queryLength, kvLength] along which a bias or a mask varies; along the others its
/// length is 1 and all share it. Text form: the letters of those that vary, <c>bhqk</c> for all.
/// </summary>
[Flags]
public enum BroadcastShape
{
    /// <summary>There is no such operand.</summary>
    None = 0,

    /// <summary>By sequence (<c>b</c>).</summary>
    Batch = 1,

    /// <summary>By query head (<c>h</c>).</summary>
    Heads = 2,

    /// <summary>By query row (<c>q</c>).</summary>
    Rows = 4,

    /// <summary>By key (<c>k</c>).</summary>
    Keys = 8,

    /// <summary>One number for all.</summary>
    Scalar = 16,
}
