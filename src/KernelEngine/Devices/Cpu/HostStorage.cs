using System.Buffers;

namespace KernelEngine;

/// <summary>Host memory, owned or borrowed.</summary>
internal sealed unsafe class HostStorage : TensorStorage
{
    private readonly bool _isOwned;
    private MemoryHandle _pin;

    public HostStorage(CpuDevice device, long bytes) : base(device, bytes)
    {
        Address = HostMemory.Allocate(bytes);
        _isOwned = true;
        GC.AddMemoryPressure(Math.Max(1, bytes));
    }

    public HostStorage(CpuDevice device, void* address, long bytes, MemoryHandle pin) : base(device, bytes)
    {
        Address = (byte*)address;
        _pin = pin;
    }

    // An owner that forgot Dispose gives its memory back when it is collected; no driver is involved on the host.
    ~HostStorage() => Dispose();

    public byte* Address { get; }

    internal override void Write(long offset, ReadOnlySpan<byte> source) =>
        source.CopyTo(new Span<byte>(Address + offset, source.Length));

    internal override void Read(long offset, Span<byte> target) =>
        new ReadOnlySpan<byte>(Address + offset, target.Length).CopyTo(target);

    internal override void CopyFrom(TensorStorage source, long sourceOffset, long offset, long bytes) =>
        Buffer.MemoryCopy(((HostStorage)source).Address + sourceOffset, Address + offset, bytes, bytes);

    private protected override void Release()
    {
        _pin.Dispose();
        if (!_isOwned)
            return;
        HostMemory.Free(Address);
        GC.RemoveMemoryPressure(Math.Max(1, Bytes));
    }
}
