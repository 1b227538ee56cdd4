using System.Collections.Immutable;

namespace KernelEngine.Models;

/// <summary>The sizes and options of a decoder-only transformer: all that the runner needs besides the weights.</summary>
public sealed record ModelDescription
{
    /// <summary>Limits beyond which a description is taken for a malformed file rather than a model.</summary>
    public const int MaxHiddenSize = 65536, MaxFeedForwardSize = 1 << 20, MaxLayers = 1024, MaxVocabSize = 1 << 21,
        MaxMaxPosition = 1 << 20;

    /// <summary>Tokens.</summary>
    public required int VocabSize { get; init; }

    /// <summary>Elements of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Positions the model was made for; the KV cache grows up to it.</summary>
    public required int MaxPosition { get; init; }

    /// <summary>The blocks, first to last.</summary>
    public required ImmutableArray<LayerDescription> Layers { get; init; }

    /// <summary>True when the embedding is the output head as well.</summary>
    public bool HasTiedHead { get; init; }

    /// <summary>True when an RMS norm stands before the output head.</summary>
    public bool HasFinalNorm { get; init; } = true;

    /// <summary>Added to the mean square in every RMS norm.</summary>
    public float NormEpsilon { get; init; } = 1e-5f;

    /// <summary>The token that begins a sequence, if the model has one.</summary>
    public int? BosTokenId { get; init; }

    /// <summary>The tokens that end a sequence.</summary>
    public ImmutableArray<int> EosTokenIds { get; init; } = [];

    /// <summary>Null when the sizes fit one another, else a sentence that says which do not.</summary>
    public string? FindError()
    {
        if (VocabSize is < 1 or > MaxVocabSize)
            return OutOfRange("The vocabulary size", VocabSize, MaxVocabSize);
        if (HiddenSize is < 1 or > MaxHiddenSize)
            return OutOfRange("The hidden size", HiddenSize, MaxHiddenSize);
        if (MaxPosition is < 1 or > MaxMaxPosition)
            return OutOfRange("The number of positions", MaxPosition, MaxMaxPosition);
        if (Layers.IsDefault || Layers.Length is < 1 or > MaxLayers)
            return OutOfRange("The number of layers", Layers.IsDefault ? 0 : Layers.Length, MaxLayers);
        if (!(NormEpsilon >= 0 && NormEpsilon < 1))
            return $"The norm's epsilon must be at least 0 and below 1 but is {NormEpsilon}.";
        if (BosTokenId is { } bos && (bos < 0 || bos >= VocabSize))
            return $"The begin-of-sequence token {bos} is not one of the {VocabSize} tokens.";
        foreach (int eos in EosTokenIds.IsDefault ? [] : EosTokenIds)
        {
            if (eos < 0 || eos >= VocabSize)
                return $"The end-of-sequence token {eos} is not one of the {VocabSize} tokens.";
        }
        for (int i = 0; i < Layers.Length; i++)
        {
            if ((i == 0 || Layers[i] != Layers[i - 1]) && FindError(Layers[i]) is { } error)
                return $"Layer {i}: {error}";
        }
        return null;
    }

    private static string? FindError(LayerDescription layer) =>
        layer.HeadDim is < 1 or > AttentionProblem.MaxHeadDim
            ? OutOfRange("The head dimension", layer.HeadDim, AttentionProblem.MaxHeadDim)
        : layer.ValueHeadDim is < 1 or > AttentionProblem.MaxHeadDim
            ? OutOfRange("The value head dimension", layer.ValueHeadDim, AttentionProblem.MaxHeadDim)
        : layer.NumHeads is < 1 or > MaxHiddenSize ? OutOfRange("The number of heads", layer.NumHeads, MaxHiddenSize)
        : layer.NumKvHeads < 1 || layer.NumHeads % layer.NumKvHeads != 0
            ? $"The number of heads must be a multiple of the key/value heads "
                + $"but {layer.NumHeads} is no multiple of {layer.NumKvHeads}."
        : layer.FeedForwardSize is < 0 or > MaxFeedForwardSize
            ? $"The feed-forward size must be 0 to {MaxFeedForwardSize} but is {layer.FeedForwardSize}."
        : layer.SubVectorSize < 0 || layer.SubVectorSize > layer.HeadDim
            ? $"A sub-vector must have at most the head dimension's {layer.HeadDim} components but has {layer.SubVectorSize}."
        : layer.FeedForwardBlocks < 0 || (layer.FeedForwardBlocks > 0 && layer.FeedForwardSize % layer.FeedForwardBlocks != 0)
            ? $"The feed-forward size {layer.FeedForwardSize} cannot be cut into {layer.FeedForwardBlocks} blocks."
        : layer.FeedForwardBlocks > 0 && (layer.ActiveFeedForwardBlocks < 1 || layer.ActiveFeedForwardBlocks > layer.FeedForwardBlocks)
            ? $"A token must go through 1 to {layer.FeedForwardBlocks} blocks but goes through {layer.ActiveFeedForwardBlocks}."
        : layer.AttentionScale is { } scale && !float.IsFinite(scale) ? "The attention scale must be finite."
        : layer.Rotary is { } rotary ? FindError(rotary, layer.HeadDim)
        : null;

    private static string? FindError(RotaryDescription rotary, int headDim) =>
        rotary.Dimensions < 2 || rotary.Dimensions > headDim || rotary.Dimensions % 2 != 0
            ? $"The rotary dimensions must be even and at most the head dimension {headDim} but are {rotary.Dimensions}."
        : !double.IsFinite(rotary.Base) || rotary.Base <= 1 ? $"The rotary base must be above 1 but is {rotary.Base}."
        : null;

    private static string OutOfRange(string what, int value, int max) => $"{what} must be 1 to {max} but is {value}.";
}
