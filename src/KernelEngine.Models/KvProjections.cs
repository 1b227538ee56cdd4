using KernelEngine.Models.Conversion;
using KernelEngine.Models.Formats;

namespace KernelEngine.Models;

/// <summary>
/// The bases of <see cref="MatryoshkaProjection.Save"/> from a file, one <see cref="KvProjection"/> a layer. The rows of a layer have one
/// length in the cache: that of the head with the most directions.
/// </summary>
public sealed class KvProjections : IDisposable
{
    /// <summary>The name of the file beside a checkpoint.</summary>
    public const string FileName = "projections.safetensors";

    private readonly List<KvProjection> _layers = [];

    private KvProjections()
    {
    }

    /// <summary>The projection of each layer; fits <see cref="RunnerOptions.Projections"/>.</summary>
    public IReadOnlyList<KvProjection> Layers => _layers;

    /// <summary>Reads a safetensors file.</summary>
    /// <param name="device">Where the cache is.</param>
    /// <param name="path">The file.</param>
    /// <param name="description">The model.</param>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    /// <exception cref="ModelFormatException">The file is malformed, lacks the basis of a head, or is of another model.</exception>
    public static KvProjections Load(Device device, string path, ModelDescription description)
    {
        ArgumentNullException.ThrowIfNull(description);
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        var projections = new KvProjections();
        try
        {
            for (int i = 0; i < description.Layers.Length; i++)
            {
                LayerDescription layer = description.Layers[i];
                projections._layers.Add(new KvProjection(
                    device, new KvLayerShape(layer.NumKvHeads, layer.HeadDim, layer.ValueHeadDim),
                    ReadBasis(reader, path, i, layer.NumKvHeads, "key_basis", layer.HeadDim),
                    ReadBasis(reader, path, i, layer.NumKvHeads, "value_basis", layer.ValueHeadDim)));
            }
        }
        catch
        {
            projections.Dispose();
            throw;
        }
        return projections;
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (KvProjection layer in _layers)
            layer.Dispose();
    }

    // [heads, rank, width], with zeros where a head has fewer directions than another.
    private static float[] ReadBasis(SafetensorsReader reader, string path, int layer, int heads, string name, int width)
    {
        StoredTensor[] bases = [.. Enumerable.Range(0, heads).Select(head => Find($"layers.{layer}.heads.{head}.{name}"))];
        int rank = bases.Max(basis => (int)basis.Shape[0]);
        var rows = new float[heads * rank * width];
        for (int head = 0; head < heads; head++)
            bases[head].ReadSingles().CopyTo(rows.AsSpan(head * rank * width));
        return rows;

        StoredTensor Find(string key)
        {
            if (!reader.Tensors.TryGetValue(key, out StoredTensor? tensor))
                throw new ModelFormatException(path, $"has no tensor '{key}'");
            return tensor.Shape.Length == 2 && tensor.Shape[0] >= 1 && tensor.Shape[0] <= width && tensor.Shape[1] == width
                ? tensor
                : throw new ModelFormatException(path, $"'{key}' must have shape [1 to {width}, {width}] but has {tensor.FormatShape()}");
        }
    }
}
