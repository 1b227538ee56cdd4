namespace KernelEngine.Models;

/// <summary>How a <see cref="ModelRunner"/> uses memory.</summary>
public sealed record RunnerOptions
{
    /// <summary>Pieces of 512 tokens; a cache that grows from 256 positions.</summary>
    public static RunnerOptions Default { get; } = new();

    /// <summary>
    /// Tokens of a prompt that go through the model together, at least 1: activations take memory for that many.
    /// Weights are packed once a piece, so larger pieces pack less.
    /// </summary>
    public int ChunkSize { get; init; } = 512;

    /// <summary>
    /// Positions that the KV cache has at first, at least 1; it doubles as needed, up to the model's positions.
    /// </summary>
    public int InitialCapacity { get; init; } = 256;

    /// <summary>Storage of keys and values: f32, f16 or bf16, or under a policy i8.</summary>
    public DataType KvType { get; init; } = DataType.Float32;

    /// <summary>What the cache keeps, head by head; null for everything, side by side.</summary>
    public KvPolicy? Policy { get; init; }

    /// <summary>
    /// Bits that a cache under a policy stores keys and values with, but for the newest (<see cref="KvCacheOptions.CodeBits"/>): 2, 4 or
    /// 8; 0 for <see cref="KvType"/> alone.
    /// </summary>
    public int KvBits { get; init; }

    /// <summary>Newest slots that stay in <see cref="KvType"/> where <see cref="KvBits"/> are given.</summary>
    public int KvFullCount { get; init; } = KvCacheOptions.Default.FullCount;

    /// <summary>
    /// What makes the cached rows of each layer shorter (<see cref="KvProjections"/>), which stays the caller's; null to store them whole.
    /// Goes with a policy.
    /// </summary>
    public IReadOnlyList<KvProjection>? Projections { get; init; }

    /// <summary>Slots of a page of a cache under a policy.</summary>
    public int PageSize { get; init; } = 32;

    /// <summary>
    /// Keys that attention looks at for each query: those with the most codes in common with it (SPT, arXiv:2312.10365); 0 for all.
    /// Everything stays in the cache, so this does not go with a policy. Where the weights have no codebook, the first chunk that
    /// sees more keys is attended to in full, and one is fitted to its queries and keys.
    /// </summary>
    public int KeepCount { get; init; }

    /// <summary>Blocks of hidden units that each token goes through, in models with a router; 0 for the whole feed-forward network.</summary>
    public int ActiveFeedForwardBlocks { get; init; }

    /// <summary>
    /// The first and the last keys, its own included, that query head (layer, head) sees; null, or for null, all. Everything stays in
    /// the cache, so this does not go with a policy.
    /// </summary>
    public Func<int, int, (int SinkCount, int RecentCount)?>? HeadWindows { get; init; }
}
