namespace KernelEngine.Models;

/// <summary>The rotary tables of one description on a device, for as many positions as the cache has.</summary>
internal sealed class RotaryTensors : IDisposable
{
    private readonly bool _isInterleaved;
    private readonly Tensor _cos, _sin;

    public RotaryTensors(Device device, RotaryDescription rotary, int capacity)
    {
        RotaryTables tables = rotary.CreateTables(capacity);
        _isInterleaved = rotary.Pairing == RotaryPairing.Interleaved;
        _cos = Tensor.From(device, tables.Cos, capacity, rotary.Dimensions / 2);
        _sin = Tensor.From(device, tables.Sin, capacity, rotary.Dimensions / 2);
    }

    /// <summary>Turns [tokens, heads, headDim] in place; the first row stands at position <paramref name="start"/>.</summary>
    public void Apply(TensorView values, int start) => Layers.Rotary(values, _cos, _sin, start, _isInterleaved);

    public void Dispose()
    {
        _cos.Dispose();
        _sin.Dispose();
    }
}
