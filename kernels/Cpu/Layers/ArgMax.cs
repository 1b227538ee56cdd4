using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// The index of the largest logit of each row, or −1 when there is none (<see cref="ArgMaxProblem"/>). Threads own ranges of
/// rows. Two passes, the maximum and its first index, are faster than one that carries indices along.
/// </summary>
public sealed unsafe class ArgMax<TSimd, TVector>() : CpuKernel<ArgMaxProblem>($"arg-max/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in ArgMaxProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body { Problem = problem, Logits = operands[ArgMaxProblem.Logits], Indices = operands[ArgMaxProblem.Indices] };
        RowParallel.Run(ref body, problem.Rows, problem.Size, workers);
    }

    private struct Body : IParallelBody
    {
        public ArgMaxProblem Problem;
        public RawView Logits, Indices;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.Rows, worker, workers);
            for (long m = first; m < last; m++)
                *(int*)Indices.Address(m) = LogitScan<TSimd, TVector>.ArgMax((float*)Logits.Address(m), Problem.Size);
        }
    }
}
