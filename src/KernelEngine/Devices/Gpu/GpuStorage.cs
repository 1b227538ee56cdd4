using ILGPU;
using ILGPU.Runtime;

namespace KernelEngine;

/// <summary>Memory of a GPU device, owned or borrowed.</summary>
internal sealed class GpuStorage : TensorStorage
{
    /// <summary>No driver hands out memory with a coarser need: kernels load 16 bytes at once.</summary>
    public const long MinBytes = 16;

    private readonly GpuDevice _device;
    private readonly MemoryBuffer1D<byte, Stride1D.Dense>? _owned;

    public GpuStorage(GpuDevice device, MemoryBuffer1D<byte, Stride1D.Dense> buffer, long bytes) : base(device, bytes) =>
        (_device, _owned, View) = (device, buffer, buffer.View.BaseView);

    public GpuStorage(GpuDevice device, ForeignMemory memory) : base(device, memory.Length) =>
        (_device, View) = (device, memory.AsRawArrayView());

    /// <summary>All of it.</summary>
    public ArrayView<byte> View { get; }

    /// <summary>Bytes to ask the driver for: an empty tensor has an address too.</summary>
    public static long SizeFor(long bytes) => Math.Max(bytes, MinBytes);

    internal override void Write(long offset, ReadOnlySpan<byte> source)
    {
        if (!source.IsEmpty)
            _device.CopyIn(source, View.SubView(offset, source.Length));
    }

    internal override void Read(long offset, Span<byte> target)
    {
        if (!target.IsEmpty)
            _device.CopyOut(View.SubView(offset, target.Length), target);
    }

    internal override void CopyFrom(TensorStorage source, long sourceOffset, long offset, long bytes)
    {
        if (bytes > 0)
            _device.Copy(((GpuStorage)source).View.SubView(sourceOffset, bytes), View.SubView(offset, bytes));
    }

    private protected override void Release()
    {
        if (_owned is not null)
            _device.Free(_owned);
    }
}
