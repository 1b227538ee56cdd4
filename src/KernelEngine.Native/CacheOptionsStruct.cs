using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_cache_options</c> of the header; 0 asks for a default.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CacheOptionsStruct
{
    public uint StructSize;
    public int Type;
    public int PageSize;
    public int Budget;
    public int SinkCount;
    public int Interval;
    public int MaxLength;
    public float SoftmaxScale;
    public float LogitSoftCap;
    public int Reserved;
    public byte* Policy;
    public byte* FullHeads;
    public float* Spans;
}
