using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_cache_step</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CacheStepStruct
{
    public uint StructSize;
    public int Layer;
    public int Phase;
    public int IsInterleaved;
    public OperandStruct* Query, Key, Value, Output, Cos, Sin;
}
