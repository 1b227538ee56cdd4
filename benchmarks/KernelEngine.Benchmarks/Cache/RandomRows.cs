namespace KernelEngine.Benchmarks.Cache;

/// <summary>Queries, keys and values of tokens, drawn once: a step takes a part of them.</summary>
internal sealed class RandomRows(Device device, KvLayerShape shape, int numHeads, int rows) : IDisposable
{
    private readonly Tensor _query = Draw(device, 1, rows, numHeads, shape.HeadDim), _key = Draw(device, 2, rows, shape.NumKvHeads, shape.HeadDim);
    private readonly Tensor _value = Draw(device, 3, rows, shape.NumKvHeads, shape.ValueHeadDim);
    private readonly Tensor _output = Tensor.Allocate(device, DataType.Float32, 1, rows, numHeads, shape.ValueHeadDim);

    public TensorView Query(int count) => _query.Slice(1, 0, count);

    public TensorView Key(int count) => _key.Slice(1, 0, count);

    public TensorView Value(int count) => _value.Slice(1, 0, count);

    public TensorView Output(int count) => _output.Slice(1, 0, count);

    public void Run(KvSession session, int count, int position, KvPhases phase) =>
        session.Run(0, Query(count), Key(count), Value(count), Output(count), position, phase);

    /// <summary>Fills the first layer of a cache without attention.</summary>
    public void Fill(KvCache cache, int length)
    {
        for (int position = 0; position < length; position += (int)_key.Layout[1])
        {
            int count = (int)Math.Min(_key.Layout[1], length - position);
            cache.Layers[0].Append(default, Key(count), Value(count), position);
            cache.Layers[0].Settle();
        }
    }

    public void Dispose()
    {
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[_query, _key, _value, _output])
            tensor.Dispose();
    }

    private static Tensor Draw(Device device, int seed, int rows, int heads, int headDim) => RandomTensors.CreateRepeating(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(1, rows, heads, headDim), ""), seed);
}
