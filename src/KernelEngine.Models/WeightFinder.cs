using KernelEngine.Models.Formats;

namespace KernelEngine.Models;

/// <summary>Finds the weights of a described model in a source, and checks that they are what the description says.</summary>
internal static class WeightFinder
{
    /// <summary>The tensor of a role.</summary>
    /// <exception cref="ModelFormatException">It is missing, has another shape, or is stored in a type that is no float type.</exception>
    public static StoredTensor Find(ModelDescription description, IWeightSource source, WeightRole role, int layer)
    {
        StoredTensor? stored = source.Find(role, layer);
        if (stored is null && role == WeightRole.Embedding && description.HasTiedHead)
            stored = source.Find(WeightRole.Head, layer); // a file may keep a shared tensor under either name
        if (stored is null)
        {
            bool isInBlock = role is not (WeightRole.Embedding or WeightRole.FinalNorm or WeightRole.Head);
            throw new ModelFormatException($"The model's files hold no {role} weight{(isInBlock ? $" for layer {layer}" : "")}.");
        }
        long[] shape = ShapeOf(description, role, layer);
        if (!stored.Shape.SequenceEqual(shape))
        {
            throw new ModelFormatException(
                stored.Source.Name,
                $"Tensor '{stored.Name}' must have shape [{string.Join(", ", shape)}] but has {stored.FormatShape()}.");
        }
        if (stored.Type is null or DataType.Int32)
        {
            throw new ModelFormatException(
                stored.Source.Name, $"Tensor '{stored.Name}' must be stored as F32, F16 or BF16 but is {stored.StoredType}.");
        }
        return stored;
    }

    private static long[] ShapeOf(ModelDescription description, WeightRole role, int layer)
    {
        LayerDescription sizes = description.Layers[layer];
        long hidden = description.HiddenSize;
        return role switch
        {
            WeightRole.AttentionNorm or WeightRole.FeedForwardNorm or WeightRole.FinalNorm => [hidden],
            WeightRole.Query => [(long)sizes.NumHeads * sizes.HeadDim, hidden],
            WeightRole.Key => [(long)sizes.NumKvHeads * sizes.HeadDim, hidden],
            WeightRole.Value => [(long)sizes.NumKvHeads * sizes.ValueHeadDim, hidden],
            WeightRole.AttentionOutput => [hidden, (long)sizes.NumHeads * sizes.ValueHeadDim],
            WeightRole.Gate or WeightRole.Up => [sizes.FeedForwardSize, hidden],
            WeightRole.Down => [hidden, sizes.FeedForwardSize],
            WeightRole.Codebook => [sizes.SubVectors, SparseAttention.Codewords, sizes.SubVectorSize],
            WeightRole.Router => [sizes.FeedForwardBlocks, hidden],
            WeightRole.RouterBias => [sizes.FeedForwardBlocks],
            _ => [description.VocabSize, hidden],
        };
    }
}
