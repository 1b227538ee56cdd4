using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_operand_info</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct OperandInfoStruct
{
    public uint StructSize;
    public int Role;
    public int Type;
    public int Rank;
    public int IsOptional;
    public int Reserved;
    public OperandStruct.Dimensions Lengths;
    public fixed byte Name[32];
    public fixed byte Dimensions[96];
}
