using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>A query row's list and how far it is worked off.</summary>
internal unsafe struct ListedRow<TIndex> where TIndex : unmanaged
{
    /// <summary>The keys, ascending.</summary>
    public TIndex* Columns;

    /// <summary>How many.</summary>
    public int Count;

    /// <summary>How many of them are worked off.</summary>
    public int Position;

    /// <summary>All of the list.</summary>
    public readonly ReadOnlySpan<TIndex> Span => new(Columns, Count);

    /// <summary>A key.</summary>
    public readonly long this[int position]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ColumnLists.Read(Columns, position);
    }
}
