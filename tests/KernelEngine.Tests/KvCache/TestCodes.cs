namespace KernelEngine.Tests.KvCache;

// Pools of codes for tests, and what they stand for.
internal sealed class TestCodes(Device device, int pages, int pageSize, int headDim, int valueHeadDim, int bits) : IDisposable
{
    private readonly Tensor _key = Tensor.Allocate(device, DataType.Int8, pages, pageSize, headDim * bits / 8);
    private readonly Tensor _value = Tensor.Allocate(device, DataType.Int8, pages, pageSize, valueHeadDim * bits / 8);

    public Tensor KeyScale { get; } = Tensor.Allocate(device, DataType.Float16, pages, headDim);

    public Tensor KeyMinimum { get; } = Tensor.Allocate(device, DataType.Float16, pages, headDim);

    public Tensor ValueScale { get; } = Tensor.Allocate(device, DataType.Float16, pages, pageSize, (valueHeadDim + 31) / 32);

    public Tensor ValueMinimum { get; } = Tensor.Allocate(device, DataType.Float16, pages, pageSize, (valueHeadDim + 31) / 32);

    public KvCodes Codes => new()
    {
        Key = _key,
        KeyScale = KeyScale,
        KeyMinimum = KeyMinimum,
        Value = _value,
        ValueScale = ValueScale,
        ValueMinimum = ValueMinimum,
    };

    public void Dispose()
    {
        foreach (Tensor tensor in (Tensor[])[_key, _value, KeyScale, KeyMinimum, ValueScale, ValueMinimum])
            tensor.Dispose();
    }
}
