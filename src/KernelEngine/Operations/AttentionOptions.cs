namespace KernelEngine;

/// <summary>What varies between calls of attention besides the tensors. <see cref="AttentionProblem"/> says what each means.</summary>
public sealed record AttentionOptions
{
    /// <summary>No mask, scale 1/√headDim.</summary>
    public static AttentionOptions Default { get; } = new();

    /// <summary>The causal mask, aligned bottom-right: the last query sees the last key.</summary>
    public static AttentionOptions Causal { get; } = new() { IsCausal = true };

    /// <summary>A row sees no key after its own position.</summary>
    public bool IsCausal { get; init; }

    /// <summary>Where a row stands among the keys: at the bottom right unless asked otherwise.</summary>
    public CausalAlignment Alignment { get; init; }

    /// <summary>Factor on the scores; null for 1/√headDim.</summary>
    public float? SoftmaxScale { get; init; }

    /// <summary>Scores x become softCap · tanh(x / softCap); 0 for no cap.</summary>
    public float LogitSoftCap { get; init; }

    /// <summary>Keys before its own position that a row sees; −1 for all.</summary>
    public int WindowLeft { get; init; } = -1;

    /// <summary>Keys after its own position that a row sees; −1 for all.</summary>
    public int WindowRight { get; init; } = -1;

    /// <summary>First keys that stay visible outside the window.</summary>
    public int SinkCount { get; init; }

    /// <summary>Rows see keys of their own chunk of this many positions alone; 0 for no chunks.</summary>
    public int ChunkSize { get; init; }

    /// <summary>Rows and keys that one element of the block mask stands for; needed with one.</summary>
    public int MaskBlock { get; init; }
}
