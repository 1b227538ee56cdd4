using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>Asks for memory ahead of its use. A hint: it never faults and changes no result.</summary>
internal static unsafe class Prefetch
{
    private const int CacheLine = 64;

    /// <summary>Asks for the cache lines of <paramref name="bytes"/> bytes, into the second-level cache.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Row(byte* address, long bytes)
    {
        if (!Sse.IsSupported)
            return;
        for (long offset = 0; offset < bytes; offset += CacheLine)
            Sse.Prefetch1(address + offset);
    }
}
