using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// Rows of a table by token id, widened to f32; threads own ranges of tokens. An id outside the table reads the nearest row,
/// so that ids no one checked cannot lead to other memory.
/// </summary>
public sealed unsafe class Embedding<TSimd, TVector>() : CpuKernel<EmbeddingProblem>($"embedding/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in EmbeddingProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            TokenIds = operands[EmbeddingProblem.TokenIds],
            Table = operands[EmbeddingProblem.Table],
            Output = operands[EmbeddingProblem.Output],
        };
        RowParallel.Run(ref body, problem.Tokens, problem.Size, workers);
    }

    private struct Body : IParallelBody
    {
        public EmbeddingProblem Problem;
        public RawView TokenIds, Table, Output;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.Tokens, worker, workers);
            for (long t = first; t < last; t++)
            {
                int id = Math.Clamp(*(int*)TokenIds.Address(t), 0, Problem.VocabSize - 1);
                Rows<TSimd, TVector>.Widen(Table.Address(id), Table.Type, Problem.Size, (float*)Output.Address(t));
            }
        }
    }
}
