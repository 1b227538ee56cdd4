using System.Buffers;

namespace KernelEngine;

/// <summary>A DLPack tensor of somebody else's as memory that is borrowed: letting go of the pin gives it back, once.</summary>
internal sealed unsafe class DlpackImport : IPinnable
{
    private readonly DlpackManagedTensor* _managed;

    public DlpackImport(DlpackManagedTensor* managed)
    {
        if (managed == null)
            throw new ArgumentNullException(nameof(managed));
        if (managed->Major != DlpackManagedTensor.CurrentMajor)
        {
            throw new NotSupportedException(
                $"The tensor is of DLPack {managed->Major}.{managed->Minor}; version {DlpackManagedTensor.CurrentMajor} is understood.");
        }
        DlpackTensor tensor = managed->Tensor;
        if (tensor.DeviceType is not (DlpackTensor.Cpu or DlpackTensor.CudaHost or DlpackTensor.RocmHost))
            throw new NotSupportedException($"The tensor is on a device of DLPack kind {tensor.DeviceType}; host memory (1, 3 or 11) is needed.");
        if (tensor.Rank is < 0 or > TensorLayout.MaxRank)
            throw new ArgumentException($"A tensor has at most {TensorLayout.MaxRank} dimensions but this one {tensor.Rank}.", nameof(managed));
        if (tensor.Rank > 0 && tensor.Lengths == null)
            throw new ArgumentException("The tensor has dimensions but no shape.", nameof(managed));
        Type = TypeOf(tensor);
        var lengths = new ReadOnlySpan<long>(tensor.Lengths, tensor.Rank);
        Layout = tensor.Strides == null ? TensorLayout.Contiguous(lengths) : new TensorLayout(lengths, new ReadOnlySpan<long>(tensor.Strides, tensor.Rank));
        if (Layout.Span > long.MaxValue / Type.SizeInBytes())
            throw new ArgumentException($"A tensor of shape {Layout} is larger than an address space.", nameof(managed));
        if (tensor.Data == null && Layout.Span > 0)
            throw new ArgumentException($"The tensor has shape {Layout} but no memory.", nameof(managed));
        Address = tensor.Data == null ? (byte*)Device.EmptyAddress : (byte*)tensor.Data + tensor.ByteOffset;
        if ((nuint)Address % (nuint)Type.SizeInBytes() != 0)
            throw new ArgumentException($"The tensor's first element must be aligned to {Type.SizeInBytes()} bytes.", nameof(managed));
        _managed = managed;
    }

    public byte* Address { get; }

    public DataType Type { get; }

    public TensorLayout Layout { get; }

    public long Bytes => Layout.Span * Type.SizeInBytes();

    public bool IsReadOnly => (_managed->Flags & DlpackManagedTensor.ReadOnly) != 0;

    public MemoryHandle Pin(int elementIndex = 0) => new(Address, default, this);

    public void Unpin()
    {
        if (_managed->Deleter != null)
            _managed->Deleter(_managed);
    }

    private static DataType TypeOf(in DlpackTensor tensor) => (tensor.TypeCode, tensor.TypeBits, tensor.TypeLanes) switch
    {
        (DlpackTensor.Float, 32, 1) => DataType.Float32,
        (DlpackTensor.Float, 16, 1) => DataType.Float16,
        (DlpackTensor.BFloat, 16, 1) => DataType.BFloat16,
        (DlpackTensor.Integer, 32, 1) => DataType.Int32,
        (DlpackTensor.Integer, 8, 1) => DataType.Int8,
        (DlpackTensor.Boolean, 8, 1) => DataType.Boolean,
        (DlpackTensor.Unsigned, 16, 1) => DataType.UInt16,
        _ => throw new NotSupportedException(
            $"Elements of DLPack type {tensor.TypeCode} with {tensor.TypeBits} bits and {tensor.TypeLanes} lanes are not known:"
            + " f32, f16, bf16, i32, i8, bool and u16 are."),
    };
}
