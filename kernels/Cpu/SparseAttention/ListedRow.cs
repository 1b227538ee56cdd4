using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>A query row's list and how far it is worked off.</summary>
internal unsafe struct ListedRow
{
    /// <summary>The keys, ascending.</summary>
    public int* Columns;

    /// <summary>How many.</summary>
    public int Count;

    /// <summary>Where the keys in work begin in the list.</summary>
    public int Begin;

    /// <summary>Where they end, as far as is known.</summary>
    public int Position;

    /// <summary>How many keys are in work.</summary>
    public readonly int Length => Position - Begin;

    /// <summary>
    /// Asks for the part of the list that the next tile takes: lists come from memory, in as many streams as there are rows, which is more
    /// than the processor's own prefetching follows.
    /// </summary>
    public readonly void PrefetchNext()
    {
        Vectors.PrefetchFar(Columns + Position + 16);
        Vectors.PrefetchFar(Columns + Position + 32);
        Vectors.PrefetchFar(Columns + Position + 48);
    }

    /// <summary>The first key that some row has before it, or <paramref name="kvLength"/>.</summary>
    public static int FirstKey(ListedRow* lists, int rows, int kvLength)
    {
        int first = kvLength;
        for (int r = 0; r < rows; r++)
        {
            if (lists[r].Begin < lists[r].Count)
                first = Math.Min(first, lists[r].Columns[lists[r].Begin]);
        }
        return first;
    }
}
