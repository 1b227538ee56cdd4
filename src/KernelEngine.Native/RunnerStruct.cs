using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_runner_info</c> of the header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RunnerStruct
{
    public uint StructSize;
    public int VocabSize;
    public int Position;
    public int MaxPosition;
    public int BosToken;
    public int EosToken;
    public long CacheBytes;
}
