namespace KernelEngine.Models;

/// <summary>The keys and values of one block, head-major: decoding streams the rows of each head one after another.</summary>
internal sealed class LayerCache : IDisposable
{
    private readonly Device _device;
    private readonly LayerDescription _layer;
    private readonly DataType _type;
    private Tensor _key, _value;

    public LayerCache(Device device, LayerDescription layer, DataType type, int capacity)
    {
        (_device, _layer, _type) = (device, layer, type);
        _key = Allocate(capacity, layer.HeadDim);
        _value = Allocate(capacity, layer.ValueHeadDim);
    }

    public long Bytes => (_key.Layout.Count + _value.Layout.Count) * _type.SizeInBytes();

    /// <summary>[1, length, numKvHeads, headDim]: the first keys as attention takes them.</summary>
    public TensorView Keys(int length) => Rows(_key, length);

    /// <summary>[1, length, numKvHeads, valueHeadDim]: the first values as attention takes them.</summary>
    public TensorView Values(int length) => Rows(_value, length);

    /// <summary>Takes memory for <paramref name="capacity"/> positions and keeps the first <paramref name="length"/>.</summary>
    public void Grow(int capacity, int length)
    {
        (Tensor oldKey, Tensor oldValue) = (_key, _value);
        _key = Allocate(capacity, _layer.HeadDim);
        _value = Allocate(capacity, _layer.ValueHeadDim);
        if (length > 0)
        {
            using Tensor start = Tensor.From(_device, [0], 1);
            Attention.Append(Rows(oldKey, length), Rows(oldValue, length), Keys(capacity), Values(capacity), start);
            _device.Synchronize();
        }
        oldKey.Dispose();
        oldValue.Dispose();
    }

    public void Dispose()
    {
        _key.Dispose();
        _value.Dispose();
    }

    private static TensorView Rows(Tensor tensor, int length) =>
        length == 0 ? throw new ArgumentOutOfRangeException(nameof(length)) : tensor.View.Transpose(0, 1).Slice(0, 0, length).Split(0, length);

    private Tensor Allocate(int capacity, int headDim) => Tensor.Allocate(_device, _type, _layer.NumKvHeads, capacity, headDim);
}
