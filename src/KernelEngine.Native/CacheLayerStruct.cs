using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_cache_layer</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CacheLayerStruct
{
    public uint StructSize;
    public int NumHeads;
    public int NumKvHeads;
    public int HeadDim;
    public int ValueHeadDim;
    public int Reserved;
}
