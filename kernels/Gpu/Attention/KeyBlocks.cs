using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// The blocks of keys that some row of a group sees: those with sinks, 0 .. SinkBlocks − 1, and those of the windows from
/// FirstBlock on, Count in all. No row sees a key at KeyEnd or after.
/// </summary>
internal struct KeyBlocks
{
    public int SinkBlocks, FirstBlock, Count, KeyEnd;

    /// <summary>The number of block <paramref name="i"/> among all blocks of keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int At(int i) => i < SinkBlocks ? i : i - SinkBlocks + FirstBlock;
}
