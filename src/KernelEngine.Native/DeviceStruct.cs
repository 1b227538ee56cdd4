using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_device_info</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DeviceStruct
{
    public uint StructSize;
    public int Threads;
    public int VectorBits;
    public int IsReference;
    public fixed byte Name[32];
    public fixed byte Description[128];
}
