namespace KernelEngine;

/// <summary>A block of memory on one device. Tensors are views of it.</summary>
public abstract class TensorStorage : IDisposable
{
    private int _isDisposed;
    private int _holders = 1; // the owner, and whoever it is lent to

    private protected TensorStorage(Device device, long bytes) => (Device, Bytes) = (device, bytes);

    /// <summary>The device whose kernels can read and write it.</summary>
    public Device Device { get; }

    /// <summary>Its size.</summary>
    public long Bytes { get; }

    /// <summary>True after <see cref="Dispose"/>.</summary>
    public bool IsDisposed => Volatile.Read(ref _isDisposed) != 0;

    /// <summary>Copies host memory into the storage, in the device's queue; the source may be reused on return.</summary>
    internal abstract void Write(long offset, ReadOnlySpan<byte> source);

    /// <summary>Waits for the queue and copies the storage into host memory.</summary>
    internal abstract void Read(long offset, Span<byte> target);

    /// <summary>Copies part of another storage of the same device, in its queue.</summary>
    internal abstract void CopyFrom(TensorStorage source, long sourceOffset, long offset, long bytes);

    /// <summary>Gives the memory back, once nobody that it is lent to holds it any more. Safe to call twice.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
            return;
        Return();
        GC.SuppressFinalize(this);
    }

    /// <summary>Keeps the memory, whatever its owner does, until <see cref="Return"/>.</summary>
    internal void Lend()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, typeof(Tensor));
        Interlocked.Increment(ref _holders);
    }

    /// <summary>Ends one <see cref="Lend"/>.</summary>
    internal void Return()
    {
        if (Interlocked.Decrement(ref _holders) == 0)
            Release();
    }

    private protected abstract void Release();
}
