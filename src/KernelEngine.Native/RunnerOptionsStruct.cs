using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_runner_options</c> of the header; 0 asks for a default.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct RunnerOptionsStruct
{
    public uint StructSize;
    public int ChunkSize;
    public int InitialCapacity;
    public int KvType;
    public byte* TokenizerPath;
}
