using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_problem_info</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ProblemStruct
{
    public uint StructSize;
    public int OperandCount;
    public double Flops;
    public double Bytes;
    public fixed byte Text[256];
}
