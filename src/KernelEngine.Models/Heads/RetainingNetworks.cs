using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Heads;

/// <summary>
/// The trained networks of Locret (Huang et al. 2024, arXiv:2410.01805) from a file: for each layer <c>self_attn.fc1.weight</c>
/// [width, numHeads · headDim + numKvHeads · (headDim + valueHeadDim)] and <c>self_attn.fc2.weight</c> [numKvHeads, width] after
/// <c>model.layers.0.</c> and so on, as the published code names them. Other tensors of the file are passed over.
/// </summary>
public sealed class RetainingNetworks : IDisposable
{
    private readonly List<Tensor> _weights = [];
    private readonly List<RetainingNetwork> _layers = [];

    private RetainingNetworks()
    {
    }

    /// <summary>The network of each layer; fits <see cref="KvPolicySettings.Networks"/>.</summary>
    public IReadOnlyList<RetainingNetwork> Layers => _layers;

    /// <summary>Reads a safetensors file of f32, f16 or bf16 weights.</summary>
    /// <param name="device">Where the networks run.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    /// <exception cref="ModelFormatException">The file is malformed, or has no network of a layer, or not both of its matrices.</exception>
    public static RetainingNetworks Load(Device device, string path)
    {
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        var networks = new RetainingNetworks();
        try
        {
            for (int layer = 0; layer == 0 || reader.Tensors.ContainsKey(Name(layer, 1)); layer++)
                networks.Add(device, Find(Name(layer, 1)), Find(Name(layer, 2)));
        }
        catch
        {
            networks.Dispose();
            throw;
        }
        return networks;

        StoredTensor Find(string name) =>
            reader.Tensors.TryGetValue(name, out StoredTensor? tensor)
                ? tensor
                : throw new ModelFormatException(path, $"has no tensor '{name}'");
    }

    /// <summary>Gives networks and weights back. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (IDisposable held in (ReadOnlySpan<IDisposable>)[.. _layers, .. _weights])
            held.Dispose();
    }

    private static string Name(int layer, int matrix) => $"model.layers.{layer}.self_attn.fc{matrix}.weight";

    private void Add(Device device, StoredTensor first, StoredTensor second)
    {
        if (first.Shape.Length != 2 || second.Shape.Length != 2 || first.Shape[0] != second.Shape[1])
        {
            throw new ModelFormatException(
                $"{first.Source.Name}: '{second.Name}' must have shape [numKvHeads, width] and '{first.Name}' [width, inputs] "
                + $"but they have {second.FormatShape()} and {first.FormatShape()}.");
        }
        foreach (StoredTensor matrix in (ReadOnlySpan<StoredTensor>)[first, second])
            _weights.Add(Tensor.From<float>(device, matrix.ReadSingles(), matrix.Shape));
        _layers.Add(new RetainingNetwork(_weights[^2], _weights[^1]));
    }
}
