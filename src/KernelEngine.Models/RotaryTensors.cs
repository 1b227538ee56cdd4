namespace KernelEngine.Models;

/// <summary>The rotary tables of one description on a device, for as many positions as the cache has.</summary>
internal sealed class RotaryTensors : IDisposable
{
    public RotaryTensors(Device device, RotaryDescription rotary, int capacity)
    {
        RotaryTables tables = rotary.CreateTables(capacity);
        IsInterleaved = rotary.Pairing == RotaryPairing.Interleaved;
        Cos = Tensor.From(device, tables.Cos, capacity, rotary.Dimensions / 2);
        Sin = Tensor.From(device, tables.Sin, capacity, rotary.Dimensions / 2);
    }

    public bool IsInterleaved { get; }

    /// <summary>f32 [capacity, dimensions / 2]</summary>
    public Tensor Cos { get; }

    /// <summary>f32 [capacity, dimensions / 2]</summary>
    public Tensor Sin { get; }

    public KvRotary AsKvRotary() => new(Cos, Sin, IsInterleaved);

    public void Dispose()
    {
        Cos.Dispose();
        Sin.Dispose();
    }
}
