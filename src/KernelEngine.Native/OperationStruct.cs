using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_operation_info</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct OperationStruct
{
    public uint StructSize;
    public int Reserved;
    public fixed byte Name[48];
    public fixed byte Summary[208];
}
