namespace KernelEngine;

/// <summary>What varies between calls of <see cref="SparseAttention.Select"/> besides the tensors.</summary>
public sealed record SparseSelectOptions
{
    /// <summary>Every row sees every key; of equals the later key is kept.</summary>
    public static SparseSelectOptions Default { get; } = new();

    /// <summary>A row sees itself and the keys before it, and always keeps itself.</summary>
    public static SparseSelectOptions Causal { get; } = new() { IsCausal = true, Recent = 1 };

    /// <summary>A row sees no key after its own position; the last row stands at the last key.</summary>
    public bool IsCausal { get; init; }

    /// <summary>Of keys with equal match counts the earlier ones are kept.</summary>
    public bool KeepsEarliest { get; init; }

    /// <summary>First keys that are always kept.</summary>
    public int Sinks { get; init; }

    /// <summary>Last keys seen that are always kept.</summary>
    public int Recent { get; init; }
}
