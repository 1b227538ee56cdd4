using System.Numerics;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Lists of the keys with the most codes in common, chosen by <see cref="KeySelection"/>. Rows are claimed in blocks by a fixed rule.
/// Workspace: subVectors · 2 bytes a key of every key head; for each thread some bits a key, and a list.
/// </summary>
public sealed unsafe class SparseSelect() : CpuKernel<SparseSelectProblem>("sparse-select/cpu")
{
    private const int RowsOfBlock = 16;
    private const long StreamedBytes = 16 << 20; // lists too many for caches are written past them

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseSelectProblem problem, int threads) =>
        checked(KeySelection.BitmapBytes(problem) + threads * ThreadBytes(problem));

    /// <inheritdoc/>
    public override void Run(in SparseSelectProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        if (problem.BatchSize == 0 || problem.IndexHeads == 0 || problem.QueryLength == 0)
            return;
        var body = new Body
        {
            Problem = problem,
            Selection = new KeySelection(
                problem, operands[SparseSelectProblem.QueryCodes], operands[SparseSelectProblem.KeyCodes], operands[SparseSelectProblem.KvLengths],
                workspace),
            Columns = operands[SparseSelectProblem.Columns],
            Counts = operands[SparseSelectProblem.Counts],
            Threads = (byte*)workspace + KeySelection.BitmapBytes(problem),
            IsStreamed = operands[SparseSelectProblem.Columns].Layout.Count * problem.ColumnType.SizeInBytes() >= StreamedBytes,
        };
        workers.Run(ref body);
        body.IsBuilt = true;
        workers.Run(ref body);
    }

    private static long ThreadBytes(in SparseSelectProblem problem) => KeySelection.ScratchBytes(problem)
        + (((long)Math.Min(problem.Capacity, problem.KvLength) + KeySelection.Slack) * problem.ColumnType.SizeInBytes() + 63) / 64 * 64;

    private struct Body : IParallelBody
    {
        public SparseSelectProblem Problem;
        public KeySelection Selection;
        public RawView Columns, Counts;
        public byte* Threads;
        public bool IsStreamed, IsBuilt;

        public readonly void Execute(int worker, int workers)
        {
            if (!IsBuilt)
            {
                Selection.BuildBitmaps(worker, workers);
                return;
            }
            long blocks = (Problem.QueryLength + RowsOfBlock - 1L) / RowsOfBlock, tasks = (long)Problem.BatchSize * Problem.IndexHeads * blocks;
            byte* thread = Threads + worker * ThreadBytes(Problem);
            for (long task = worker; task < tasks; task += workers)
            {
                (long list, long block) = Math.DivRem(task, blocks);
                int batch = (int)(list / Problem.IndexHeads), head = (int)(list % Problem.IndexHeads), first = (int)block * RowsOfBlock;
                for (int row = first; row < Math.Min(first + RowsOfBlock, Problem.QueryLength); row++)
                {
                    if (Problem.ColumnType == DataType.UInt16)
                        WriteRow<ushort>(batch, head, row, thread);
                    else
                        WriteRow<int>(batch, head, row, thread);
                }
            }
            if (IsStreamed && Sse.IsSupported)
                Sse.StoreFence(); // before anyone else reads the lists
        }

        private readonly void WriteRow<TIndex>(int batch, int head, int row, byte* thread) where TIndex : unmanaged, IBinaryInteger<TIndex>
        {
            var columns = (TIndex*)Columns.Address(batch, head, row);
            var keys = (TIndex*)(thread + KeySelection.ScratchBytes(Problem));
            int count = Selection.Choose(batch, head, row, thread, keys);
            *(int*)Counts.Address(batch, head, row) = count;
            Copy((byte*)keys, (byte*)columns, (long)count * sizeof(TIndex));
            new Span<TIndex>(columns + count, Problem.Capacity - count).Fill(~TIndex.Zero);
        }

        // Lists that no cache holds are written without being read first.
        private readonly void Copy(byte* buffer, byte* columns, long bytes)
        {
            long done = 0;
            if (IsStreamed && (nuint)columns % 64 == 0)
            {
                for (; done <= bytes - 64; done += 64)
                    Vector512.Load(buffer + done).StoreAlignedNonTemporal(columns + done);
            }
            Buffer.MemoryCopy(buffer + done, columns + done, bytes - done, bytes - done);
        }
    }
}
