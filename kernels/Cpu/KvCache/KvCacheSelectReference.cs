using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// The choice of slots by its definition (<see cref="KvCacheSelectProblem"/>): sort them all, mark the first ones. Comparisons are
/// exact: it is its own plain computation. Workspace: 9 bytes a slot of all cells.
/// </summary>
public sealed unsafe class KvCacheSelectReference(string name, DeviceKinds device) : CpuKernel<KvCacheSelectProblem>(name, device)
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheSelectProblem problem, int threads) =>
        (long)problem.Cells * problem.Slots * (sizeof(Slot) + sizeof(bool));

    /// <inheritdoc/>
    public override void Run(in KvCacheSelectProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        Slot* order = (Slot*)workspace;
        bool* isKept = (bool*)(order + (long)problem.Cells * problem.Slots);
        if (problem.IsPooled)
            Mark(problem, operands, 0, problem.Cells, order, isKept);
        for (int c = 0; c < problem.Cells; c++)
        {
            if (!problem.IsPooled)
                Mark(problem, operands, c, c + 1, order, isKept);
            int* kept = (int*)operands[KvCacheSelectProblem.Kept].Address(c);
            int count = 0;
            for (int j = 0; j < operands[KvCacheSelectProblem.Lengths].ReadInt32(c); j++)
            {
                if (isKept[(long)c * problem.Slots + j])
                    kept[count++] = j;
            }
            *(int*)operands[KvCacheSelectProblem.KeptCounts].Address(c) = count;
            for (int j = count; j < problem.Slots; j++)
                kept[j] = -1;
        }
    }

    private static void Mark(
        in KvCacheSelectProblem problem, ReadOnlySpan<RawView> operands, int firstCell, int endCell, Slot* order, bool* isKept)
    {
        RawView scores = operands[KvCacheSelectProblem.Scores];
        int count = 0;
        long budget = 0;
        for (int c = firstCell; c < endCell; c++)
        {
            budget += operands[KvCacheSelectProblem.Budgets].ReadInt32(c);
            for (int j = 0; j < operands[KvCacheSelectProblem.Lengths].ReadInt32(c); j++)
                order[count++] = new Slot(c, j);
        }
        new Span<Slot>(order, count).Sort(new BestFirst(scores));
        for (int i = 0; i < count; i++)
            isKept[(long)order[i].Cell * problem.Slots + order[i].Index] = i < budget
                || BestFirst.ScoreOf(scores, order[i]) == float.PositiveInfinity;
    }

    private readonly record struct Slot(int Cell, int Index);

    private readonly struct BestFirst(RawView scores) : IComparer<Slot>
    {
        public int Compare(Slot x, Slot y)
        {
            float a = ScoreOf(scores, x), b = ScoreOf(scores, y);
            return a != b ? (a > b ? -1 : 1) : x.Index != y.Index ? y.Index.CompareTo(x.Index) : x.Cell.CompareTo(y.Cell);
        }

        public static float ScoreOf(in RawView scores, Slot slot)
        {
            float score = ((float*)scores.Address(slot.Cell))[slot.Index];
            return float.IsNaN(score) ? float.NegativeInfinity : score;
        }
    }
}
