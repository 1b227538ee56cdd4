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

    [InlineArray(TensorLayout.MaxRank)]
    public struct Dimensions
    {
        private long _element;
    }
}
