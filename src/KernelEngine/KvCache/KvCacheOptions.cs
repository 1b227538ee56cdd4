using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>How a cache stores its slots.</summary>
public sealed record KvCacheOptions
{
    /// <summary>f32 storage, pages of 32 slots, original positions.</summary>
    public static KvCacheOptions Default { get; } = new();

    /// <summary>Storage of keys and values: f32, f16, bf16, or i8 with a scale a row.</summary>
    public DataType Type { get; init; } = DataType.Float32;

    /// <summary>Slots of a page, 1 to 1024. A page holds slots of one cell.</summary>
    public int PageSize { get; init; } = 32;

    /// <summary>Where keys stand after an eviction.</summary>
    public KvPositions Positions { get; init; }

    /// <summary>
    /// The slopes of linear biases (ALiBi, Press et al. 2021, arXiv:2108.12409), one a query head, the same in every layer; null for none.
    /// A score falls by the slope for each token between the positions, or, where keys stand at their places in the cache, the slots.
    /// </summary>
    public IReadOnlyList<float>? AlibiSlopes { get; init; }

    /// <summary>
    /// Bits that keys and values are stored with once <see cref="FullCount"/> newer ones are there (KIVI, arXiv:2402.02750): 2, 4 or 8, a
    /// scale and a minimum for each channel of a page of keys and for 32 channels of a value; 0 for <see cref="Type"/> alone. Whole pages
    /// are turned into codes. Rings, and pages with a slot that stands for several tokens, stay in full.
    /// </summary>
    public int CodeBits { get; init; }

    /// <summary>Newest slots of a cell that stay in full precision where <see cref="CodeBits"/> are given; up to a page more do.</summary>
    public int FullCount { get; init; } = 32;

    /// <summary>Null when the options are possible, else a sentence that says which is not.</summary>
    public string? FindError() =>
        !Type.IsFloat() && Type != DataType.Int8 ? $"A cache holds f32, f16, bf16 or i8, not {Type.ToText()}."
        : PageSize is < 1 or > 1024 ? $"A page holds 1 to 1024 slots, not {PageSize}."
        : Type == DataType.Int8 && Positions != KvPositions.Original ? "Keys of 8 bits cannot be turned: keep original positions."
        : CodeBits is not (0 or 2 or 4 or 8) ? $"Codes have 2, 4 or 8 bits, not {CodeBits}."
        : CodeBits > 0 && !Type.IsFloat() ? $"Slots become codes from f32, f16 or bf16, not from {Type.ToText()}."
        : AlibiSlopes is { } slopes && !slopes.All(float.IsFinite) ? "The slopes of linear biases must be finite."
        : FullCount < 0 ? "The number of slots in full precision must not be negative."
        : null;

    /// <summary>Null when a layer can be stored so, else a sentence that says why not.</summary>
    public string? FindError(in KvLayerShape shape) => shape.FindError()
        ?? (AlibiSlopes is { } slopes && (slopes.Count == 0 || slopes.Count % shape.NumKvHeads != 0)
            ? $"Slopes are one for each query head, but {slopes.Count} is no multiple of {shape.NumKvHeads} key/value heads." : null)
        ?? (CodeBits > 0 ? new CodePages(0, PageSize, shape.HeadDim, shape.ValueHeadDim, CodeBits).FindError() : null);
}
