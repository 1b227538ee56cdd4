using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelEngine.Benchmarks.Embedding;

/// <summary><c>ke_operand</c> of the C library's header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeOperand
{
    public uint StructSize;
    public int Type;
    public int Rank;
    public int Flags;
    public void* Data;
    public long Bytes;
    public Dimensions Lengths, Strides;

    [InlineArray(4)]
    public struct Dimensions
    {
        private long _element;
    }
}
