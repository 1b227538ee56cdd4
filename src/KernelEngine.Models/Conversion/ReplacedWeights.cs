using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Conversion;

/// <summary>The weights of a model of which some were replaced.</summary>
internal sealed class ReplacedWeights(IWeightSource original) : IWeightSource
{
    private readonly Dictionary<(WeightRole, int), StoredTensor> _replaced = [];

    /// <summary>Replaces a tensor, or adds it.</summary>
    public void Replace(WeightRole role, int layer, float[] values, params ReadOnlySpan<long> shape) =>
        _replaced[(role, layer)] = StoredTensor.FromValues($"{role} of layer {layer}", values, shape);

    /// <inheritdoc/>
    public StoredTensor? Find(WeightRole role, int layer) =>
        _replaced.TryGetValue((role, layer), out StoredTensor? tensor) ? tensor : original.Find(role, layer);
}
