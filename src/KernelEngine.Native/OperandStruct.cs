using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_operand</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct OperandStruct
{
    public const int ReadOnly = 1, Strided = 2;

    public uint StructSize;
    public int Type;
    public int Rank;
    public int Flags;
    public byte* Data;
    public long Bytes;
    public Dimensions Lengths, Strides;

    /// <summary>
    /// The tensor, after every check that needs no problem: shape and type are held against the problem's afterwards. The default
    /// when it is left out.
    /// </summary>
    /// <param name="device">Where it is used.</param>
    /// <param name="name">What messages call it.</param>
    public readonly TensorView View(Device device, string name)
    {
        if (Data == null && Rank == 0)
            return default;
        if ((uint)Rank > TensorLayout.MaxRank)
            throw new ArgumentException($"{name} has rank {Rank}; ranks are 0 to {TensorLayout.MaxRank}.");
        if ((Flags & ~(ReadOnly | Strided)) != 0)
            throw new ArgumentException($"{name} has flags 0x{Flags:x}, which are not all known.");
        DataType type = Arguments.Type(Type, name);
        int elementBytes = type.SizeInBytes();
        ReadOnlySpan<long> lengths = ((ReadOnlySpan<long>)Lengths)[..Rank];
        TensorLayout layout = (Flags & Strided) == 0 ? TensorLayout.Contiguous(lengths)
            : new TensorLayout(lengths, ((ReadOnlySpan<long>)Strides)[..Rank]);
        nint address = (nint)Data;
        if (address == 0 && layout.Span > 0)
            throw new ArgumentException($"{name} has shape {layout} but its data is NULL.");
        if ((nuint)address % (nuint)elementBytes != 0)
            throw new ArgumentException($"{name} must be aligned to {elementBytes} bytes but its data is at 0x{(nuint)address:x}.");
        if (Bytes < 0)
            throw new ArgumentException($"{name} has {Bytes} bytes.");
        if (layout.Span > Bytes / elementBytes)
        {
            throw new ArgumentException(
                $"{name} of shape {layout} reaches over {layout.Span} elements of {elementBytes} bytes but has {Bytes} bytes.");
        }
        if (address < 0 || Bytes > nint.MaxValue - address)
            throw new ArgumentException($"{name} at 0x{(nuint)address:x} with {Bytes} bytes leaves the address space.");
        (TensorStorage storage, long byteOffset) = device.Locate(address);
        return new TensorView(storage, byteOffset, type, layout, (Flags & ReadOnly) != 0);
    }

    [InlineArray(TensorLayout.MaxRank)]
    public struct Dimensions
    {
        private long _element;
    }
}
