namespace KernelEngine.Models.Formats;

/// <summary>Finds the tensors of a model by what they are for.</summary>
public interface IWeightSource
{
    /// <summary>
    /// The tensor, or null when the source has none. <paramref name="layer"/> counts for the roles inside a block.
    /// </summary>
    StoredTensor? Find(WeightRole role, int layer);
}
