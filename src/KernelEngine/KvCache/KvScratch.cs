namespace KernelEngine;

/// <summary>Pages for a turned or decoded copy of one layer's keys and values; the layers of a cache take turns.</summary>
internal sealed class KvScratch(Device device) : IDisposable
{
    public GrowingTensor Keys { get; } = new(device);

    public GrowingTensor Values { get; } = new(device);

    public long Bytes => Keys.Bytes + Values.Bytes;

    public void Dispose()
    {
        Keys.Dispose();
        Values.Dispose();
    }
}
