namespace KernelEngine;

/// <summary>What varies between calls of attention besides the tensors.</summary>
public sealed record AttentionOptions
{
    /// <summary>No mask, scale 1/√headDim.</summary>
    public static AttentionOptions Default { get; } = new();

    /// <summary>The causal mask, aligned bottom-right: the last query sees the last key.</summary>
    public static AttentionOptions Causal { get; } = new() { IsCausal = true };

    /// <summary>Row i sees keys 0 .. i + kvLength − queryLength.</summary>
    public bool IsCausal { get; init; }

    /// <summary>Factor on the scores; null for 1/√headDim.</summary>
    public float? SoftmaxScale { get; init; }
}
