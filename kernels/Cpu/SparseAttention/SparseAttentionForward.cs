using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Attention over lists of keys by <see cref="ListedAttention{TSimd, TVector}"/>. Parallel scheme: keys and values of a batch element are packed
/// first, by all threads; then threads claim blocks of rows of a head.
/// </summary>
public sealed unsafe class SparseAttentionForward<TSimd, TVector>()
    : CpuKernel<SparseAttentionProblem>($"sparse-attention-forward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseAttentionProblem problem, int threads) =>
        ListedAttention<TSimd, TVector>.GetWorkspaceBytes(problem, threads);

    /// <inheritdoc/>
    public override void Run(in SparseAttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var call = new SparseAttentionCall(problem, operands);
        var body = new Body { Call = call, Attention = new ListedAttention<TSimd, TVector>(call, workspace, workers.Count) };
        for (body.Batch = 0; body.Batch < problem.BatchSize; body.Batch++)
        {
            (body.IsPacked, body.Claimed) = (false, 0);
            workers.Run(ref body);
            body.IsPacked = true;
            workers.Run(ref body);
        }
    }

    private struct Body : IParallelBody
    {
        public SparseAttentionCall Call;
        public ListedAttention<TSimd, TVector> Attention;
        public int Batch;
        public bool IsPacked;
        public long Claimed;

        public void Execute(int worker, int workers)
        {
            if (!IsPacked)
            {
                Attention.Pack(Batch, worker, workers);
                return;
            }
            int blocks = (int)(((long)Call.Problem.QueryLength + Attention.BlockM - 1) / Attention.BlockM);
            long units = (long)blocks * Call.Problem.NumHeads;
            for (long unit = Interlocked.Increment(ref Claimed) - 1; unit < units; unit = Interlocked.Increment(ref Claimed) - 1)
            {
                if (Call.Problem.ColumnType == DataType.UInt16)
                    Attend<ushort>((int)(unit / blocks), (int)(unit % blocks) * Attention.BlockM, worker);
                else
                    Attend<int>((int)(unit / blocks), (int)(unit % blocks) * Attention.BlockM, worker);
            }
        }

        private readonly void Attend<TIndex>(int head, int row0, int worker) where TIndex : unmanaged
        {
            int rows = Math.Min(Attention.BlockM, Call.Problem.QueryLength - row0);
            ListedRow<TIndex>* lists = stackalloc ListedRow<TIndex>[ListedAttention<TSimd, TVector>.MaxBlockM];
            for (int r = 0; r < rows; r++)
                lists[r] = Call.ListOf<TIndex>(Batch, head, row0 + r);
            Attention.Attend(Batch, head, row0, rows, lists, worker);
        }
    }
}
