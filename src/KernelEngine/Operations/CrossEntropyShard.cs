namespace KernelEngine;

/// <summary>Which classes of a larger vocabulary the rows of a classifier are.</summary>
/// <param name="FirstClass">The class of its first row.</param>
/// <param name="Classes">Size of the whole vocabulary.</param>
public readonly record struct CrossEntropyShard(int FirstClass, int Classes)
{
    /// <summary>The even split of a vocabulary: where rank <paramref name="rank"/> of <paramref name="ranks"/> begins, and how many classes it has.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such rank.</exception>
    public static (CrossEntropyShard Shard, int Size) Of(int classes, int rank, int ranks)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(classes);
        ArgumentOutOfRangeException.ThrowIfLessThan(ranks, 1);
        if ((uint)rank >= (uint)ranks)
            throw new ArgumentOutOfRangeException(nameof(rank), rank, $"The rank must be 0 to {ranks - 1}.");
        int size = classes / ranks, larger = classes % ranks;
        return (new CrossEntropyShard(rank * size + Math.Min(rank, larger), classes), size + (rank < larger ? 1 : 0));
    }
}
