namespace KernelEngine.Models;

/// <summary>The keys and values of one block, token-major: projections write their rows straight into it.</summary>
internal sealed class LayerCache : IDisposable
{
    private readonly Device _device;
    private readonly LayerDescription _layer;
    private Tensor _key, _value;

    public LayerCache(Device device, LayerDescription layer, int capacity)
    {
        (_device, _layer) = (device, layer);
        _key = Allocate(capacity, layer.HeadDim);
        _value = Allocate(capacity, layer.ValueHeadDim);
    }

    public long Bytes => (_key.Layout.Count + _value.Layout.Count) * sizeof(float);

    /// <summary>f32 [length, numKvHeads · headDim]: the keys of positions start .. start + length − 1.</summary>
    public TensorView KeyRows(int start, int length) => _key.Slice(0, start, length);

    /// <summary>f32 [length, numKvHeads · valueHeadDim]: the values of those positions.</summary>
    public TensorView ValueRows(int start, int length) => _value.Slice(0, start, length);

    /// <summary>f32 [1, length, numKvHeads, headDim]: the first keys as attention takes them.</summary>
    public TensorView Keys(int length) => KeyRows(0, length).Reshape(1, length, _layer.NumKvHeads, _layer.HeadDim);

    /// <summary>f32 [1, length, numKvHeads, valueHeadDim]: the first values as attention takes them.</summary>
    public TensorView Values(int length) => ValueRows(0, length).Reshape(1, length, _layer.NumKvHeads, _layer.ValueHeadDim);

    /// <summary>Takes memory for <paramref name="capacity"/> positions and keeps the first <paramref name="length"/>.</summary>
    public void Grow(int capacity, int length)
    {
        Grow(ref _key, _layer.HeadDim, capacity, length);
        Grow(ref _value, _layer.ValueHeadDim, capacity, length);
    }

    public void Dispose()
    {
        _key.Dispose();
        _value.Dispose();
    }

    private Tensor Allocate(int capacity, int headDim) =>
        Tensor.Allocate(_device, DataType.Float32, capacity, (long)_layer.NumKvHeads * headDim);

    private void Grow(ref Tensor tensor, int headDim, int capacity, int length)
    {
        Tensor grown = Allocate(capacity, headDim);
        // Added to zeros: a copy that stays on the device.
        if (length > 0)
            Layers.ResidualAdd(grown.Slice(0, 0, length), tensor.Slice(0, 0, length));
        _device.Synchronize();
        tensor.Dispose();
        tensor = grown;
    }
}
