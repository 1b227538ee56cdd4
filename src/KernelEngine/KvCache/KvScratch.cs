namespace KernelEngine;

/// <summary>Pages for a turned copy of one layer's keys; the layers of a cache take turns.</summary>
internal sealed class KvScratch(Device device) : IDisposable
{
    private Tensor? _tensor;

    public long Bytes => _tensor is null ? 0 : _tensor.Layout.Count * _tensor.Type.SizeInBytes();

    /// <summary>Pages of the shape and type of <paramref name="pages"/>, their contents undefined.</summary>
    public TensorView Take(TensorView pages)
    {
        if (_tensor is null || _tensor.Type != pages.Type || _tensor.Layout.Count < pages.Layout.Count)
        {
            Dispose();
            _tensor = Tensor.Allocate(device, pages.Type, pages.Layout.Count);
        }
        return new TensorView(_tensor.View.Storage!, 0, pages.Type, pages.Layout);
    }

    public void Dispose()
    {
        if (_tensor is null)
            return;
        device.Synchronize();
        _tensor.Dispose();
        _tensor = null;
    }
}
