using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary>
/// A small table that the host writes and kernels read: filled through <see cref="Begin"/>, sent by <see cref="End"/>. Its memory
/// grows and is used again, so that a step of decoding allocates nothing.
/// </summary>
internal sealed class DeviceTable<T>(Device device) : IDisposable where T : unmanaged
{
    private T[] _values = [];
    private Tensor? _tensor;
    private TensorLayout _layout;

    /// <summary>What it was sent as last.</summary>
    public TensorView View { get; private set; }

    /// <summary>Bytes on the device and beside it.</summary>
    public long Bytes => 2L * _values.Length * Marshal.SizeOf<T>();

    /// <summary>A table of zeros to fill.</summary>
    public Span<T> Begin(params ReadOnlySpan<long> lengths)
    {
        _layout = TensorLayout.Contiguous(lengths);
        int count = checked((int)_layout.Count);
        if (count > _values.Length)
            _values = new T[Math.Min(Array.MaxLength, Math.Max(count, _values.Length * 3L / 2))];
        else
            _values.AsSpan(0, count).Clear();
        return _values.AsSpan(0, count);
    }

    /// <summary>Sends what was filled.</summary>
    public TensorView End()
    {
        if (_tensor is null || _tensor.Layout.Count < _layout.Count)
        {
            Dispose();
            _tensor = Tensor.Allocate(device, DataTypes.Of<T>(), _values.Length);
        }
        _tensor.CopyFrom<T>(_values.AsSpan(0, (int)_layout.Count), 0);
        return View = new TensorView(_tensor.View.Storage!, 0, _tensor.Type, _layout);
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
