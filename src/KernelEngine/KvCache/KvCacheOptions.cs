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

    /// <summary>Null when the options are possible, else a sentence that says which is not.</summary>
    public string? FindError() =>
        !Type.IsFloat() && Type != DataType.Int8 ? $"A cache holds f32, f16, bf16 or i8, not {Type.ToText()}."
        : PageSize is < 1 or > 1024 ? $"A page holds 1 to 1024 slots, not {PageSize}."
        : Type == DataType.Int8 && Positions != KvPositions.Original ? "Keys of 8 bits cannot be turned: keep original positions."
        : null;
}
