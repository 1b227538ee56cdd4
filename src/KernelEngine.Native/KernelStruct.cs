using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_kernel_info</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KernelStruct
{
    public uint StructSize;
    public int Reserved;
    public long WorkspaceBytes;
    public fixed byte Name[64];
}
