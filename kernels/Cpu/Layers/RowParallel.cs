using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>Splits the rows of a small operation over threads when there is enough to do.</summary>
internal static class RowParallel
{
    // Handing work to other threads costs some microseconds, in which one thread does about this many elements.
    private const long MinElements = 1 << 14;

    /// <summary>Whether <see cref="Run"/> uses more than the calling thread.</summary>
    public static bool IsWorthwhile(int rows, long size) => rows > 1 && rows * size >= MinElements;

    /// <summary>Runs <paramref name="body"/>, which takes its share of the rows, on all threads or on the caller alone.</summary>
    public static void Run<TBody>(ref TBody body, int rows, long size, WorkerPool workers) where TBody : unmanaged, IParallelBody
    {
        if (IsWorthwhile(rows, size))
            workers.Run(ref body);
        else
            body.Execute(0, 1);
    }
}
