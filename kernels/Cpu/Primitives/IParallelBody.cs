namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>Work that <see cref="WorkerPool"/> splits over its threads: a struct of sizes and pointers.</summary>
public interface IParallelBody
{
    /// <summary>Does part <paramref name="worker"/> of <paramref name="workers"/>. Parts run in any order, at the same time or not.</summary>
    void Execute(int worker, int workers);
}
