using System.Numerics;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Attention over the keys with the most codes in common (<see cref="SelectedAttentionProblem"/>): the lists of a block of rows are chosen
/// (<see cref="KeySelection"/>) and used at once (<see cref="ListedAttention{TSimd, TVector}"/>), while they are in the second-level cache; no
/// others exist. First rows that may keep all the keys they see are left to the dense kernel; the others have the bits of choosing and attending
/// one after the other. Parallel scheme: all threads build the bitmaps, and pack keys and values of a batch element; then threads claim
/// blocks of rows of a head that has lists.
/// Workspace: that of both, and for a thread the lists of up to 256 rows; or that of the dense kernel, whatever is more.
/// </summary>
public sealed unsafe class SelectedAttentionForward<TSimd, TVector>()
    : CpuKernel<SelectedAttentionProblem>($"sparse-attention-selected/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private readonly FlashForward<TSimd, TVector> _dense = new();

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SelectedAttentionProblem problem, int threads) => Math.Max(
        _dense.GetWorkspaceBytes(DenseRows(problem), threads),
        checked(ListedAttention<TSimd, TVector>.GetWorkspaceBytes(problem.Attention, threads) + KeySelection.BitmapBytes(problem.Selection)
            + threads * ThreadBytes(problem)));

    /// <inheritdoc/>
    public override void Run(in SelectedAttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        AttentionProblem dense = DenseRows(problem);
        RunDense(dense, operands, workspace, workers);
        if (dense.QueryLength == problem.Selection.QueryLength)
            return;
        byte* bitmaps = (byte*)workspace + ListedAttention<TSimd, TVector>.GetWorkspaceBytes(problem.Attention, workers.Count);
        var call = new SparseAttentionCall(problem.Attention,
        [
            operands[SelectedAttentionProblem.Query], operands[SelectedAttentionProblem.Key], operands[SelectedAttentionProblem.Value],
            default, default, operands[SelectedAttentionProblem.Output], operands[SelectedAttentionProblem.Lse],
        ]);
        var body = new Body
        {
            Problem = problem,
            FirstRow = dense.QueryLength,
            Attention = new ListedAttention<TSimd, TVector>(call, workspace, workers.Count),
            Selection = new KeySelection(
                problem.Selection, operands[SelectedAttentionProblem.QueryCodes], operands[SelectedAttentionProblem.KeyCodes],
                operands[SelectedAttentionProblem.KvLengths], bitmaps),
            Threads = bitmaps + KeySelection.BitmapBytes(problem.Selection),
        };
        for (body.Batch = 0; body.Batch < problem.Selection.BatchSize; body.Batch++)
        {
            (body.IsPrepared, body.Claimed) = (false, 0);
            workers.Run(ref body);
            body.IsPrepared = true;
            workers.Run(ref body);
        }
    }

    // The first rows, as far as they see no more keys than they may keep: a problem of their own.
    private static AttentionProblem DenseRows(in SelectedAttentionProblem problem)
    {
        SparseSelectProblem selection = problem.Selection;
        long rows = selection.HasKvLengths || (!selection.IsCausal && selection.Capacity < selection.KvLength) ? 0
            : selection.IsCausal ? Math.Clamp((long)selection.Capacity - selection.KvLength + selection.QueryLength, 0, selection.QueryLength)
            : selection.QueryLength;
        return new AttentionProblem(
            selection.BatchSize, selection.NumHeads, selection.NumKvHeads, (int)rows,
            rows == 0 ? 0 : Math.Min(selection.Capacity, selection.KvLength), problem.HeadDim, problem.ValueHeadDim, selection.IsCausal,
            problem.SoftmaxScale, problem.Type, problem.Type)
        {
            LogitSoftCap = problem.LogitSoftCap,
        };
    }

    // The tensors have more rows and keys than the problem: the kernel takes lengths from the problem, and strides from the tensors.
    private void RunDense(in AttentionProblem dense, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        if (dense.QueryLength == 0)
            return;
        Span<RawView> views = stackalloc RawView[AttentionProblem.Count];
        views.Clear();
        views[AttentionProblem.Query] = operands[SelectedAttentionProblem.Query];
        views[AttentionProblem.Key] = operands[SelectedAttentionProblem.Key];
        views[AttentionProblem.Value] = operands[SelectedAttentionProblem.Value];
        views[AttentionProblem.Output] = operands[SelectedAttentionProblem.Output];
        views[AttentionProblem.Lse] = operands[SelectedAttentionProblem.Lse];
        _dense.Run(dense, views, workspace, workers);
    }

    // Keys from one list of a block to the next: whole cache lines.
    private static long ListKeys(in SelectedAttentionProblem problem) => ((long)problem.Attention.MaxCount + KeySelection.Slack + 31) / 32 * 32;

    private static long ThreadBytes(in SelectedAttentionProblem problem) => checked(
        KeySelection.ScratchBytes(problem.Selection)
        + ListedAttention<TSimd, TVector>.MaxBlockM * ListKeys(problem) * problem.Selection.ColumnType.SizeInBytes());

    private struct Body : IParallelBody
    {
        public SelectedAttentionProblem Problem;
        public ListedAttention<TSimd, TVector> Attention;
        public KeySelection Selection;
        public byte* Threads;
        public int Batch, FirstRow;
        public bool IsPrepared;
        public long Claimed;

        public void Execute(int worker, int workers)
        {
            if (!IsPrepared)
            {
                if (Batch == 0)
                    Selection.BuildBitmaps(worker, workers);
                Attention.Pack(Batch, worker, workers);
                return;
            }
            int blocks = (int)(((long)Problem.Selection.QueryLength - FirstRow + Attention.BlockM - 1) / Attention.BlockM);
            long units = (long)blocks * Problem.Selection.IndexHeads;
            for (long unit = Interlocked.Increment(ref Claimed) - 1; unit < units; unit = Interlocked.Increment(ref Claimed) - 1)
            {
                if (Problem.Selection.ColumnType == DataType.UInt16)
                    Attend<ushort>((int)(unit / blocks), FirstRow + (int)(unit % blocks) * Attention.BlockM, worker);
                else
                    Attend<int>((int)(unit / blocks), FirstRow + (int)(unit % blocks) * Attention.BlockM, worker);
            }
        }

        private readonly void Attend<TIndex>(int indexHead, int row0, int worker) where TIndex : unmanaged, IBinaryInteger<TIndex>
        {
            int rows = Math.Min(Attention.BlockM, Problem.Selection.QueryLength - row0), heads = Problem.Selection.HeadsOfList;
            byte* scratch = Threads + worker * ThreadBytes(Problem);
            var keys = (TIndex*)(scratch + KeySelection.ScratchBytes(Problem.Selection));
            ListedRow<TIndex>* chosen = stackalloc ListedRow<TIndex>[ListedAttention<TSimd, TVector>.MaxBlockM];
            ListedRow<TIndex>* lists = stackalloc ListedRow<TIndex>[ListedAttention<TSimd, TVector>.MaxBlockM];
            for (int r = 0; r < rows; r++)
            {
                TIndex* columns = keys + r * ListKeys(Problem);
                chosen[r] = new ListedRow<TIndex> { Columns = columns, Count = Selection.Choose(Batch, indexHead, row0 + r, scratch, columns) };
            }
            for (int head = indexHead * heads; head < (indexHead + 1) * heads; head++)
            {
                new Span<ListedRow<TIndex>>(chosen, rows).CopyTo(new Span<ListedRow<TIndex>>(lists, rows));
                Attention.Attend(Batch, head, row0, rows, lists, worker);
            }
        }
    }
}
