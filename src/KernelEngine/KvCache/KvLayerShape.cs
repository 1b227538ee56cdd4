namespace KernelEngine;

/// <summary>The sizes of one layer of a cache.</summary>
/// <param name="NumKvHeads">Key/value heads: the cells of the layer.</param>
/// <param name="HeadDim">Elements of a key row, 1 to 256.</param>
/// <param name="ValueHeadDim">Elements of a value row, 1 to 256.</param>
public readonly record struct KvLayerShape(int NumKvHeads, int HeadDim, int ValueHeadDim)
{
    /// <summary>Null when the sizes are possible, else a sentence that says which is not.</summary>
    public string? FindError() =>
        NumKvHeads < 1 ? $"A layer needs at least one key/value head but has {NumKvHeads}."
        : AttentionProblem.FindHeadDimError(HeadDim, ValueHeadDim);
}
