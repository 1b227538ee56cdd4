using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.FeedForward;

/// <summary>
/// The tokens of each block, by counting. An entry is token · activeBlocks + i where the block is the token's i-th; a place is where an
/// entry stands when all are sorted by block, and of the same block by token.
/// </summary>
internal struct BlockLists
{
    /// <summary>Places of a tile of rows.</summary>
    public const int Size = 64;

    /// <summary>Shared memory of <see cref="FeedForwardLists"/>.</summary>
    public const int SharedBytes = 2 * sizeof(int) * GroupReduce.Threads;

    public MatrixView<int> Selected;  // [tokens, activeBlocks]
    public ArrayView<int> Offsets;    // [blocks + 1]: the first place of each block
    public ArrayView<int> Entries;    // [entries]: the entry at each place
    public ArrayView<int> Places;     // [entries]: the place of each entry
    public int Tokens, Blocks, ActiveBlocks, UnitsOfBlock;

    /// <summary>The block of an entry.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int BlockOf(int entry)
    {
        int token = entry / ActiveBlocks, i = entry - token * ActiveBlocks;
        return ActiveBlocks == Blocks ? i : Selected.Data[token * Selected.RowStride + i];
    }

    /// <summary>The token at a place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int TokenAt(int place) => Entries[place] / ActiveBlocks;

    /// <summary>
    /// The kernel that fills the lists: one group a block. Each thread counts the entries of this block, and those of blocks before it,
    /// in a range of its own, then writes its own in their order.
    /// </summary>
    public static void FeedForwardLists(BlockLists p)
    {
        ArrayView<int> before = SharedMemory.Allocate<int>(GroupReduce.Threads), own = SharedMemory.Allocate<int>(GroupReduce.Threads);
        int thread = Group.IdxX, block = Grid.IdxX;
        long entries = (long)p.Tokens * p.ActiveBlocks;
        int first = (int)(entries * thread / GroupReduce.Threads), last = (int)(entries * (thread + 1) / GroupReduce.Threads);
        int lower = 0, equal = 0;
        for (int entry = first; entry < last; entry++)
        {
            int other = p.BlockOf(entry);
            lower += other < block ? 1 : 0;
            equal += other == block ? 1 : 0;
        }
        before[thread] = lower;
        own[thread] = equal;
        Group.Barrier();
        int begin = 0, place = 0;
        for (int i = 0; i < GroupReduce.Threads; i++)
        {
            begin += before[i];
            place += i < thread ? own[i] : 0;
        }
        place += begin;
        for (int entry = first; entry < last; entry++)
        {
            if (p.BlockOf(entry) == block)
            {
                p.Entries[place] = entry;
                p.Places[entry] = place;
                place++;
            }
        }
        if (thread == GroupReduce.Threads - 1)
        {
            p.Offsets[block] = begin;
            if (block == p.Blocks - 1)
                p.Offsets[p.Blocks] = place;
        }
    }
}
