using System.Collections.Immutable;

namespace KernelEngine.Models.Formats;

/// <summary>The weights of a model whose rotary pairs are neighbours, as in llama2.c checkpoints, with each pair moved to the two halves of a head.</summary>
internal sealed class HalfSplitWeights : IWeightSource
{
    private readonly ModelDescription _original;
    private readonly IWeightSource _source;

    private HalfSplitWeights(ModelDescription original, IWeightSource source) => (_original, _source) = (original, source);

    /// <summary>The same model with pairs in two halves.</summary>
    public static (ModelDescription Description, IWeightSource Weights) Of(ModelDescription description, IWeightSource source)
    {
        ImmutableArray<LayerDescription> layers = description.Layers;
        return layers.All(layer => layer.Rotary is not { Pairing: RotaryPairing.Interleaved })
            ? (description, source)
            : (description with { Layers = [.. layers.Select(Split)] }, new HalfSplitWeights(description, source));
    }

    /// <inheritdoc/>
    public StoredTensor? Find(WeightRole role, int layer)
    {
        bool turns = role is WeightRole.Query or WeightRole.Key && _original.Layers[layer].Rotary is { Pairing: RotaryPairing.Interleaved };
        return turns ? Move(WeightFinder.Find(_original, _source, role, layer), _original.Layers[layer]) : _source.Find(role, layer);
    }

    private static LayerDescription Split(LayerDescription layer) =>
        layer.Rotary is { } rotary ? layer with { Rotary = rotary with { Pairing = RotaryPairing.HalfSplit } } : layer;

    // Rows 2i and 2i + 1 of the turned part of each head become rows i and i + dimensions / 2.
    private static StoredTensor Move(StoredTensor tensor, LayerDescription layer)
    {
        float[] values = tensor.ReadSingles(), moved = new float[values.Length];
        int rows = (int)tensor.Shape[0], columns = (int)tensor.Shape[1], turned = layer.Rotary!.Dimensions;
        for (int row = 0; row < rows; row++)
        {
            (int head, int element) = Math.DivRem(row, layer.HeadDim);
            int to = head * layer.HeadDim + (element < turned ? element / 2 + element % 2 * (turned / 2) : element);
            values.AsSpan(row * columns, columns).CopyTo(moved.AsSpan(to * columns));
        }
        return StoredTensor.FromValues(tensor.Name, moved, rows, columns);
    }
}
