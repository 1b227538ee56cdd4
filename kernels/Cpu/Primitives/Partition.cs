namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>The static split of work over threads.</summary>
internal static class Partition
{
    /// <summary>The range of <paramref name="count"/> items that belongs to <paramref name="worker"/>; sizes differ by one at the most.</summary>
    public static (long First, long Last) Range(long count, int worker, int workers) =>
        (count * worker / workers, count * (worker + 1) / workers);
}
