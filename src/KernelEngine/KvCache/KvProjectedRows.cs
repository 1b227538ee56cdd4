namespace KernelEngine;

/// <summary>What a step of a cache with shorter rows works with; the layers of a session take turns.</summary>
internal sealed class KvProjectedRows(Device device) : IDisposable
{
    private readonly GrowingTensor _query = new(device), _key = new(device), _value = new(device), _output = new(device);

    public long Bytes => _query.Bytes + _key.Bytes + _value.Bytes + _output.Bytes;

    public TensorView Query { get; private set; }

    public TensorView Key { get; private set; }

    public TensorView Value { get; private set; }

    /// <summary>Where attention over the stored rows goes.</summary>
    public TensorView Output { get; private set; }

    /// <summary>Turns queries and keys to their positions, in place, and projects them and the values.</summary>
    public void Project(KvProjection projection, TensorView query, TensorView key, TensorView value, int position, in KvRotary rotary)
    {
        if (rotary.IsPresent)
        {
            Layers.Rotary(query.Join(0), rotary.Cos, rotary.Sin, position, rotary.IsInterleaved);
            Layers.Rotary(key.Join(0), rotary.Cos, rotary.Sin, position, rotary.IsInterleaved);
        }
        KvLayerShape stored = projection.Stored;
        Query = _query.Take(DataType.Float32, 1, query[1], query[2], stored.HeadDim);
        Key = _key.Take(DataType.Float32, 1, key[1], key[2], stored.HeadDim);
        Value = _value.Take(DataType.Float32, 1, value[1], value[2], stored.ValueHeadDim);
        Output = _output.Take(DataType.Float32, 1, query[1], query[2], stored.ValueHeadDim);
        projection.ProjectKeys(query, Query);
        projection.ProjectKeys(key, Key);
        projection.ProjectValues(value, Value);
    }

    public void Dispose()
    {
        foreach (GrowingTensor tensor in (ReadOnlySpan<GrowingTensor>)[_query, _key, _value, _output])
            tensor.Dispose();
    }
}
