using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Groups of up to sixteen keys that follow one another in the list of a query row, side by side in memory. Only the last group of a list is
/// not full; its other places repeat the last key.
/// </summary>
/// <param name="rows">For each group its row within a block, and above <see cref="RowBits"/> bits how many keys it has.</param>
/// <param name="columns">For each group sixteen keys.</param>
/// <param name="count">How many groups.</param>
internal readonly unsafe struct ListedGroups<TIndex>(int* rows, TIndex* columns, int count) where TIndex : unmanaged
{
    /// <summary>Keys of a full group.</summary>
    public const int Size = 16;

    /// <summary>Bits of a row's number within a block.</summary>
    public const int RowBits = 16;

    /// <summary>How many groups.</summary>
    public int Count => count;

    /// <summary>The row of a group within its block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public long RowOf(int group) => rows[group] & ((1 << RowBits) - 1);

    /// <summary>How many keys a group has.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int SizeOf(int group) => rows[group] >> RowBits;

    /// <summary>A group's keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TIndex* ColumnsOf(int group) => columns + (long)group * Size;
}
