namespace KernelEngine.Models;

/// <summary>One transformer block: <c>x += Attention(norm(x)); x += FeedForward(norm(x))</c>.</summary>
public sealed record LayerDescription
{
    /// <summary>Query heads.</summary>
    public required int NumHeads { get; init; }

    /// <summary>Key/value heads; divides the query heads.</summary>
    public required int NumKvHeads { get; init; }

    /// <summary>Elements of a query or key row.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Elements of a value row.</summary>
    public required int ValueHeadDim { get; init; }

    /// <summary>Width of the gated feed-forward network; 0 for a block of attention alone.</summary>
    public int FeedForwardSize { get; init; }

    /// <summary>
    /// Components of a sub-vector of the codebook that queries and keys are encoded with, for attention that looks at a few keys;
    /// 0 for a block without one.
    /// </summary>
    public int SubVectorSize { get; init; }

    /// <summary>Blocks of hidden units that a router chooses from (SPT, arXiv:2312.10365); 0 for a network without router.</summary>
    public int FeedForwardBlocks { get; init; }

    /// <summary>How many of them a token goes through when it is routed.</summary>
    public int ActiveFeedForwardBlocks { get; init; }

    /// <summary>Sub-vectors of a query or key row.</summary>
    internal int SubVectors => SubVectorSize > 0 ? (HeadDim + SubVectorSize - 1) / SubVectorSize : 0;

    /// <summary>True when attention and feed-forward each begin with an RMS norm.</summary>
    public bool HasNorms { get; init; } = true;

    /// <summary>Factor on the attention scores; null for 1/√headDim.</summary>
    public float? AttentionScale { get; init; }

    /// <summary>Null when queries and keys are not rotated.</summary>
    public RotaryDescription? Rotary { get; init; }
}
