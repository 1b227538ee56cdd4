namespace KernelEngine;

/// <summary>A block of memory on one device. Tensors are views of it.</summary>
public abstract class TensorStorage : IDisposable
{
    private protected TensorStorage(Device device, long bytes) => (Device, Bytes) = (device, bytes);

    /// <summary>The device whose kernels can read and write it.</summary>
    public Device Device { get; }

    /// <summary>Its size.</summary>
    public long Bytes { get; }

    /// <summary>True after <see cref="Dispose"/>.</summary>
    public bool IsDisposed { get; private set; }

    /// <summary>Copies host memory into the storage, in the device's queue; the source may be reused on return.</summary>
    internal abstract void Write(long offset, ReadOnlySpan<byte> source);

    /// <summary>Waits for the queue and copies the storage into host memory.</summary>
    internal abstract void Read(long offset, Span<byte> target);

    /// <summary>Copies part of another storage of the same device, in its queue.</summary>
    internal abstract void CopyFrom(TensorStorage source, long sourceOffset, long offset, long bytes);

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        if (IsDisposed)
            return;
        IsDisposed = true;
        Release();
        GC.SuppressFinalize(this);
    }

    private protected abstract void Release();
}
