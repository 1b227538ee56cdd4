using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary>
/// Memory on a device with a data type and a shape. Owned (<see cref="Allocate"/>) or borrowed from the caller without a
/// copy (<c>Wrap</c>). Converts to the <see cref="TensorView"/> that operations take.
/// </summary>
public sealed partial class Tensor : IDisposable
{
    private readonly TensorStorage _storage;

    private Tensor(TensorStorage storage, DataType type, TensorLayout layout, bool isReadOnly = false)
    {
        _storage = storage;
        View = new TensorView(storage, 0, type, layout, isReadOnly);
    }

    /// <summary>The whole tensor as operations take it.</summary>
    public TensorView View { get; }

    /// <summary>How elements are stored.</summary>
    public DataType Type => View.Type;

    /// <summary>Shape and strides.</summary>
    public TensorLayout Layout => View.Layout;

    /// <summary>The device that holds it.</summary>
    public Device Device => _storage.Device;

    /// <summary>Allocates a row-major tensor of zeros.</summary>
    /// <exception cref="ArgumentException">The shape is negative or too large for the device.</exception>
    public static Tensor Allocate(Device device, DataType type, params ReadOnlySpan<long> lengths)
    {
        ArgumentNullException.ThrowIfNull(device);
        TensorLayout layout = TensorLayout.Contiguous(lengths);
        if (layout.Count > long.MaxValue / type.SizeInBytes())
            throw new ArgumentException($"A tensor of shape {layout} is larger than an address space.", nameof(lengths));
        return new Tensor(device.AllocateStorage(layout.Count * type.SizeInBytes()), type, layout);
    }

    /// <summary>Allocates a row-major tensor and copies <paramref name="values"/> into it.</summary>
    /// <exception cref="ArgumentException">The number of values is not that of the shape.</exception>
    public static Tensor From<T>(Device device, ReadOnlySpan<T> values, params ReadOnlySpan<long> lengths) where T : unmanaged
    {
        Tensor tensor = Allocate(device, DataTypes.Of<T>(), lengths);
        tensor.CopyFrom(values);
        return tensor;
    }

    /// <summary>Borrows the caller's memory, pinned until <see cref="Dispose"/>. Only for devices that work in host memory.</summary>
    /// <exception cref="ArgumentException">The memory does not hold exactly the shape.</exception>
    public static Tensor Wrap<T>(Device device, Memory<T> memory, params ReadOnlySpan<long> lengths) where T : unmanaged
    {
        TensorLayout layout = TensorLayout.Contiguous(lengths);
        if (memory.Length != layout.Count)
            throw new ArgumentException($"The shape {layout} has {layout.Count} elements but the memory has {memory.Length}.", nameof(memory));
        DataType type = DataTypes.Of<T>();
        return new Tensor(HostDevice(device).Borrow(memory.Pin(), layout.Count * type.SizeInBytes()), type, layout);
    }

    /// <summary>
    /// Borrows memory by address: of the process, or, on device cuda, of the device's context (<see cref="GpuDevice.Context"/>). On device
    /// opencl the address is a cl_mem of its context, a sub-buffer where a tensor begins inside another buffer. The caller vouches that
    /// <paramref name="layout"/>'s span is valid until <see cref="Dispose"/>.
    /// </summary>
    /// <exception cref="ArgumentException">The address is null or not aligned: to the element, or to 16 bytes on a GPU.</exception>
    public static unsafe Tensor Wrap(Device device, void* address, DataType type, TensorLayout layout)
    {
        if (address == null && layout.Span > 0)
            throw new ArgumentNullException(nameof(address));
        if ((nuint)address % (nuint)type.SizeInBytes() != 0)
            throw new ArgumentException($"The address must be aligned to the element size of {type.SizeInBytes()} bytes.", nameof(address));
        ArgumentNullException.ThrowIfNull(device);
        return new Tensor(device.Borrow(address, checked(layout.Span * type.SizeInBytes())), type, layout);
    }

    /// <summary>What operations take.</summary>
    public static implicit operator TensorView(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return tensor.View;
    }

    /// <summary>What operations take.</summary>
    public TensorView ToTensorView() => View;

    /// <summary>Keeps the elements start .. start + length of one dimension.</summary>
    public TensorView Slice(int dimension, long start, long length) => View.Slice(dimension, start, length);

    /// <summary>Copies from host memory. The tensor must be contiguous.</summary>
    /// <exception cref="ArgumentException">Another element type or number of elements.</exception>
    public void CopyFrom<T>(ReadOnlySpan<T> source) where T : unmanaged
    {
        CheckWritable();
        CheckCopy<T>(source.Length, nameof(source));
        _storage.Write(0, MemoryMarshal.AsBytes(source));
    }

    /// <summary>Copies from host memory into the elements from <paramref name="firstElement"/> on. The tensor must be contiguous.</summary>
    /// <exception cref="ArgumentException">Another element type, or elements beyond the tensor's end.</exception>
    public void CopyFrom<T>(ReadOnlySpan<T> source, long firstElement) where T : unmanaged
    {
        CheckWritable();
        CheckPartCopy<T>(source.Length, firstElement, nameof(source));
        _storage.Write(firstElement * Type.SizeInBytes(), MemoryMarshal.AsBytes(source));
    }

    /// <summary>Copies elements of another tensor of the device, in its queue. Both must be contiguous.</summary>
    /// <param name="source">A tensor of the same device and type, not this one.</param>
    /// <param name="sourceElement">Its first element to copy.</param>
    /// <param name="firstElement">Where it goes.</param>
    /// <param name="count">Elements to copy.</param>
    /// <exception cref="ArgumentException">Another device or type, or elements beyond the end of either.</exception>
    public void CopyFrom(Tensor source, long sourceElement, long firstElement, long count)
    {
        ArgumentNullException.ThrowIfNull(source);
        ObjectDisposedException.ThrowIf(_storage.IsDisposed, this);
        ObjectDisposedException.ThrowIf(source._storage.IsDisposed, source);
        if (source.Device != Device || source.Type != Type || source._storage == _storage)
            throw new ArgumentException($"The source must be another tensor of {Type.ToText()} on device '{Device.Name}'.", nameof(source));
        source.CheckRange(sourceElement, count, nameof(sourceElement));
        CheckRange(firstElement, count, nameof(firstElement));
        int size = Type.SizeInBytes();
        _storage.CopyFrom(source._storage, sourceElement * size, firstElement * size, count * size);
    }

    /// <summary>Waits for the device and copies the elements from <paramref name="firstElement"/> on. The tensor must be contiguous.</summary>
    /// <exception cref="ArgumentException">Another element type, or elements beyond the tensor's end.</exception>
    public void CopyTo<T>(Span<T> target, long firstElement) where T : unmanaged
    {
        CheckPartCopy<T>(target.Length, firstElement, nameof(target));
        _storage.Read(firstElement * Type.SizeInBytes(), MemoryMarshal.AsBytes(target));
    }

    /// <summary>Waits for the device and copies to host memory. The tensor must be contiguous.</summary>
    /// <exception cref="ArgumentException">Another element type or number of elements.</exception>
    public void CopyTo<T>(Span<T> target) where T : unmanaged
    {
        CheckCopy<T>(target.Length, nameof(target));
        _storage.Read(0, MemoryMarshal.AsBytes(target));
    }

    /// <summary>Waits for the device and returns the elements in row-major order.</summary>
    public T[] ToArray<T>() where T : unmanaged
    {
        var values = new T[Layout.Count];
        CopyTo<T>(values);
        return values;
    }

    /// <summary>Gives owned memory back, or lets go of borrowed memory. Safe to call twice.</summary>
    public void Dispose() => _storage.Dispose();

    private static CpuDevice HostDevice(Device device) => device as CpuDevice
        ?? throw new NotSupportedException($"Device '{device?.Name}' has its own memory: allocate the tensor there and copy.");

    private void CheckWritable()
    {
        if (View.IsReadOnly)
            throw new InvalidOperationException("The tensor's memory may only be read.");
    }

    private void CheckPartCopy<T>(int length, long firstElement, string paramName) where T : unmanaged
    {
        ObjectDisposedException.ThrowIf(_storage.IsDisposed, this);
        if (DataTypes.Of<T>() != Type)
            throw new ArgumentException($"The tensor holds {Type.ToText()} but {typeof(T).Name} was given.", paramName);
        CheckRange(firstElement, length, paramName);
    }

    private void CheckRange(long firstElement, long count, string paramName)
    {
        if (!Layout.IsContiguous || firstElement < 0 || count < 0 || firstElement > Layout.Count - count)
        {
            throw new ArgumentException(
                $"Elements {firstElement} to {firstElement + count} do not lie in a contiguous tensor of shape {Layout}.", paramName);
        }
    }

    private void CheckCopy<T>(int length, string paramName) where T : unmanaged
    {
        ObjectDisposedException.ThrowIf(_storage.IsDisposed, this);
        if (DataTypes.Of<T>() != Type)
            throw new ArgumentException($"The tensor holds {Type.ToText()} but {typeof(T).Name} was given.", paramName);
        if (!Layout.IsContiguous || length != Layout.Count)
            throw new ArgumentException($"A contiguous tensor of {Layout.Count} elements is needed for a copy; the tensor is {Layout}, the other side has {length} elements.", paramName);
    }
}
