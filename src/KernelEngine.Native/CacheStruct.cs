using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_cache_info</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CacheStruct
{
    public uint StructSize;
    public int LayerCount;
    public int Tokens;
    public int MaxSlots;
    public long UsedBytes;
    public long ReservedBytes;
    public long MetadataBytes;
    public long PolicyBytes;
}
