namespace KernelEngine;

/// <summary>
/// The keys and values of one sequence, held head by head: every (layer, key/value head) is a cell of its own length, in pages of its
/// own, so that what one head forgets is memory given back whatever the others keep. Belongs to one caller at a time.
/// </summary>
public sealed class KvCache : IDisposable
{
    private readonly KvLayer[] _layers;
    private readonly KvScratch _scratch;

    /// <summary>An empty cache.</summary>
    /// <param name="device">Where keys and values lie.</param>
    /// <param name="layers">The sizes of each layer.</param>
    /// <param name="options">Storage; null for f32.</param>
    /// <exception cref="ArgumentException">There is no layer, or a size or option is not possible.</exception>
    public KvCache(Device device, IReadOnlyList<KvLayerShape> layers, KvCacheOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(layers);
        options ??= KvCacheOptions.Default;
        if (options.FindError() is { } error)
            throw new ArgumentException(error, nameof(options));
        if (layers.Count == 0)
            throw new ArgumentException("A cache needs at least one layer.", nameof(layers));
        for (int i = 0; i < layers.Count; i++)
        {
            if (options.FindError(layers[i]) is { } layerError)
                throw new ArgumentException($"Layer {i}: {layerError}", nameof(layers));
        }
        (Device, Options, _scratch) = (device, options, new KvScratch(device));
        _layers = [.. layers.Select((shape, i) => new KvLayer(device, i, shape, options, _scratch))];
    }

    /// <summary>Where keys and values lie.</summary>
    public Device Device { get; }

    /// <summary>How slots are stored.</summary>
    public KvCacheOptions Options { get; }

    /// <summary>The layers.</summary>
    public IReadOnlyList<KvLayer> Layers => _layers;

    /// <summary>Where the bytes are, but for what a policy keeps.</summary>
    public KvBytes Bytes => _layers.Aggregate(default(KvBytes), (sum, layer) => sum + layer.Bytes) + new KvBytes(0, 0, _scratch.Bytes, 0);

    /// <summary>A copy that goes its own way.</summary>
    public KvCache Fork()
    {
        var fork = new KvCache(Device, [.. _layers.Select(layer => layer.Shape)], Options);
        for (int i = 0; i < _layers.Length; i++)
            fork._layers[i].CopyFrom(_layers[i]);
        return fork;
    }

    /// <summary>Forgets the tokens from <paramref name="position"/> on.</summary>
    /// <exception cref="InvalidOperationException">A ring has already dropped what would be its window then.</exception>
    public void Truncate(int position)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        foreach (KvLayer layer in _layers)
            layer.RequireTruncatable(position);
        foreach (KvLayer layer in _layers)
            layer.Truncate(position);
    }

    /// <summary>Forgets everything; memory stays.</summary>
    public void Clear()
    {
        foreach (KvLayer layer in _layers)
            layer.Clear();
    }

    /// <summary>Gives the memory of free pages back.</summary>
    public void Trim()
    {
        foreach (KvLayer layer in _layers)
            layer.Trim();
        _scratch.Dispose();
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (KvLayer layer in _layers)
            layer.Dispose();
        _scratch.Dispose();
    }
}
