using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The lists by their definition (<see cref="SparseSelectProblem"/>): every key is compared and all are sorted. Numbers are integers: it
/// is its own plain computation. Workspace: 8 bytes a key.
/// </summary>
public sealed unsafe class SparseSelectReference(string name, DeviceKinds device) : CpuKernel<SparseSelectProblem>(name, device)
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseSelectProblem problem, int threads) => (long)sizeof(Candidate) * problem.KvLength;

    /// <inheritdoc/>
    public override void Run(in SparseSelectProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        for (int b = 0; b < problem.BatchSize; b++)
        {
            int length = problem.HasKvLengths ? operands[SparseSelectProblem.KvLengths].ReadInt32(b) : problem.KvLength;
            for (int h = 0; h < problem.IndexHeads; h++)
            {
                for (int i = 0; i < problem.QueryLength; i++)
                {
                    var seen = new Span<Candidate>(workspace, problem.CountSeen(i, length));
                    for (int j = 0; j < seen.Length; j++)
                    {
                        bool isForced = j < problem.Sinks || j >= seen.Length - problem.Recent;
                        seen[j] = new Candidate(isForced ? int.MaxValue : CountMatches(problem, operands, b, h, i, j), j);
                    }
                    seen.Sort(new BestFirst(problem.KeepsEarliest));
                    Write(problem, operands, b, h, i, seen);
                }
            }
        }
    }

    private static int CountMatches(in SparseSelectProblem problem, ReadOnlySpan<RawView> operands, int batch, int indexHead, int row, int key)
    {
        int count = 0;
        for (int head = indexHead * problem.HeadsOfList; head < (indexHead + 1) * problem.HeadsOfList; head++)
        {
            int* query = (int*)operands[SparseSelectProblem.QueryCodes].Address(batch, head, row);
            int* codes = (int*)operands[SparseSelectProblem.KeyCodes].Address(batch, head / problem.GroupSize, key);
            for (int m = 0; m < problem.SubVectors; m++)
                count += SparseCodes.Read(query, m) == SparseCodes.Read(codes, m) ? 1 : 0;
        }
        return count;
    }

    private static void Write(in SparseSelectProblem problem, ReadOnlySpan<RawView> operands, int batch, int head, int row, ReadOnlySpan<Candidate> best)
    {
        byte* columns = operands[SparseSelectProblem.Columns].Address(batch, head, row);
        int count = Math.Min(problem.Capacity, best.Length);
        int[] keys = [.. best[..count].ToArray().Select(candidate => candidate.Key).Order(), .. Enumerable.Repeat(-1, problem.Capacity - count)];
        for (int p = 0; p < keys.Length; p++)
        {
            if (problem.ColumnType == DataType.UInt16)
                ((ushort*)columns)[p] = unchecked((ushort)keys[p]);
            else
                ((int*)columns)[p] = keys[p];
        }
        *(int*)operands[SparseSelectProblem.Counts].Address(batch, head, row) = count;
    }

    private readonly record struct Candidate(int Matches, int Key);

    private readonly struct BestFirst(bool keepsEarliest) : IComparer<Candidate>
    {
        public int Compare(Candidate x, Candidate y) =>
            x.Matches != y.Matches ? y.Matches.CompareTo(x.Matches) : keepsEarliest ? x.Key.CompareTo(y.Key) : y.Key.CompareTo(x.Key);
    }
}
