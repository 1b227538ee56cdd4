namespace KernelEngine;

/// <summary>How much of a multiprocessor a kernel's groups can fill, from what one group needs: an estimate without a GPU.</summary>
/// <param name="Groups">Groups that fit into a multiprocessor at once.</param>
/// <param name="Warps">Their warps of 32 threads.</param>
/// <param name="Limit">What runs out first: registers, shared memory, threads or groups.</param>
public sealed record Occupancy(int Groups, int Warps, string Limit)
{
    // Of both architectures: four partitions with registers of their own, given out to warps in pieces.
    private const int MaxThreads = 2048, MaxGroups = 32, WarpSize = 32, Partitions = 4, Registers = 64 << 10, RegisterPiece = 256;

    // Shared memory that the driver keeps of each group, and the piece it is given out in.
    private const int ReservedShared = 1 << 10, SharedPiece = 128;

    /// <summary>Part of the 64 warps that a multiprocessor can hold.</summary>
    public double Fraction => (double)Warps * WarpSize / MaxThreads;

    /// <summary>The estimate for one kernel.</summary>
    /// <param name="architecture">sm_80, sm_90 or sm_90a.</param>
    /// <param name="registers">Registers of a thread.</param>
    /// <param name="sharedBytes">Shared memory of a group, static and dynamic.</param>
    /// <param name="threads">Threads of a group.</param>
    public static Occupancy Estimate(string architecture, int registers, int sharedBytes, int threads)
    {
        ArgumentNullException.ThrowIfNull(architecture);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(threads);
        int shared = (architecture.StartsWith("sm_9", StringComparison.Ordinal) ? 228 : 164) << 10;
        int warps = Up(threads, WarpSize) / WarpSize;
        int registersOfWarp = Math.Max(RegisterPiece, Up(registers * WarpSize, RegisterPiece));
        (int Groups, string Limit)[] limits =
        [
            (Registers / Partitions / registersOfWarp * Partitions / warps, "registers"),
            (shared / Up(sharedBytes + ReservedShared, SharedPiece), "shared memory"),
            (MaxThreads / (warps * WarpSize), "threads"),
            (MaxGroups, "groups"),
        ];
        (int groups, string limit) = limits.MinBy(l => l.Groups);
        return new Occupancy(groups, groups * warps, limit);
    }

    private static int Up(int value, int multiple) => (value + multiple - 1) / multiple * multiple;
}
