namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// How many keys are worked on at a time. Rows of keys that fit the first-level cache, or more, so that a row still lists about sixteen of
/// them where lists are thin: each row costs a little in each tile.
/// </summary>
internal static class ListedTiles
{
    private const int Bytes = 32 << 10;
    private const int PairsOfRow = 16;

    /// <summary>Keys of a tile.</summary>
    /// <param name="problem">What is computed.</param>
    /// <param name="width">Floats of a padded row.</param>
    public static int Keys(in SparseAttentionProblem problem, int width) => (int)Math.Clamp(
        (long)PairsOfRow * problem.KvLength / Math.Max(1, problem.MaxCount), Bytes / (sizeof(float) * width), int.MaxValue);

    /// <summary>
    /// Floats between rows of scores: room for those that a row lists of <paramref name="keys"/> keys, for the last group of eight, which may
    /// run past them, and for whole vectors; an odd number of cache lines.
    /// </summary>
    public static int Stride(in SparseAttentionProblem problem, long keys) => ((int)Math.Min(keys, problem.MaxCount) + 47) / 16 * 16 | 16;
}
