namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>A query row's list and how far it is worked off.</summary>
internal unsafe struct ListedRow
{
    /// <summary>The keys, ascending.</summary>
    public int* Columns;

    /// <summary>How many.</summary>
    public int Count;

    /// <summary>Where the current block of keys begins in the list.</summary>
    public int Begin;

    /// <summary>Where the current tile begins.</summary>
    public int Position;
}
