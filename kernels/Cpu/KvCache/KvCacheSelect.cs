using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// The slots worth keeping (<see cref="KvCacheSelectProblem"/>) without sorting: scores become integers in the same order, a radix
/// select finds the last one kept, and one pass over each cell writes the slots not behind it. Threads own ranges of cells; the one
/// search of pooled budgets is the calling thread's. Workspace: 8 bytes a slot, of one cell for each thread or of all cells when pooled.
/// </summary>
public sealed unsafe class KvCacheSelect() : CpuKernel<KvCacheSelectProblem>("kv-cache-select/cpu")
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheSelectProblem problem, int threads) =>
        2L * sizeof(uint) * problem.Slots
            * (problem.IsPooled ? problem.Cells : RowParallel.IsWorthwhile(problem.Cells, problem.Slots) ? threads : 1);

    /// <inheritdoc/>
    public override void Run(in KvCacheSelectProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Scores = operands[KvCacheSelectProblem.Scores],
            Lengths = operands[KvCacheSelectProblem.Lengths],
            Budgets = operands[KvCacheSelectProblem.Budgets],
            Kept = operands[KvCacheSelectProblem.Kept],
            KeptCounts = operands[KvCacheSelectProblem.KeptCounts],
            Keys = (uint*)workspace,
        };
        if (problem.IsPooled)
            body.Pooled = body.Search(0, problem.Cells, body.Keys);
        RowParallel.Run(ref body, problem.Cells, problem.Slots, workers);
    }

    // The last slot kept, in order of key, slot and cell. A slot with its key is kept when it does not stand behind it.
    private readonly record struct LastKept(uint Key, uint Slot, int Cell)
    {
        public static LastKept All => new(0, 0, int.MaxValue);

        public static LastKept Protected => new(RadixSelect.InfinityKey, 0, int.MaxValue);

        // As one number to compare (key, slot) of a cell with; lower cells come first, so that a higher one begins a slot later.
        public ulong BoundOf(int cell) => ((ulong)Key << 32) + Slot + (cell <= Cell ? 0u : 1u);
    }

    private struct Body : IParallelBody
    {
        public KvCacheSelectProblem Problem;
        public RawView Scores, Lengths, Budgets, Kept, KeptCounts;
        public uint* Keys;
        public LastKept Pooled;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.Cells, worker, workers);
            uint* keys = Keys;
            if (!Problem.IsPooled)
                keys += 2L * Problem.Slots * worker;
            else
                for (int c = 0; c < first; c++)
                    keys += Lengths.ReadInt32(c);
            for (int c = (int)first; c < last; c++)
            {
                LastKept lastKept = Problem.IsPooled ? Pooled : Search(c, c + 1, keys);
                int length = Lengths.ReadInt32(c);
                int* kept = (int*)Kept.Address(c);
                int count = Write(keys, length, lastKept.BoundOf(c), kept);
                new Span<int>(kept + count, Problem.Slots - count).Fill(-1);
                *(int*)KeptCounts.Address(c) = count;
                keys += Problem.IsPooled ? length : 0;
            }
        }

        // Writes the keys of some cells, one after another, and finds the last slot that their budgets keep.
        public readonly LastKept Search(int firstCell, int endCell, uint* keys)
        {
            long count = 0, budget = 0;
            for (int c = firstCell; c < endCell; c++)
            {
                int length = Lengths.ReadInt32(c);
                WriteKeys((float*)Scores.Address(c), length, keys + count);
                count += length;
                budget += Budgets.ReadInt32(c);
            }
            if (budget >= count)
                return LastKept.All;
            if (budget == 0)
                return LastKept.Protected;
            uint* scratch = keys + (long)Problem.Slots * (endCell - firstCell);
            uint key = RadixSelect.Find(keys, count, budget, scratch, out long equals, out long wanted);
            if (wanted == equals || key == RadixSelect.InfinityKey)
                return new LastKept(key, 0, int.MaxValue);
            return BreakTies(firstCell, endCell, keys, scratch, key, equals, wanted);
        }

        // Of the slots with an equal key the larger ones are kept, and of one slot the lower cells.
        private readonly LastKept BreakTies(int firstCell, int endCell, uint* keys, uint* slots, uint key, long equals, long wanted)
        {
            long found = 0;
            uint* cellKeys = keys;
            for (int c = firstCell; c < endCell; c++)
            {
                int length = Lengths.ReadInt32(c);
                for (int j = 0; j < length; j++)
                {
                    if (cellKeys[j] == key)
                        slots[found++] = (uint)j;
                }
                cellKeys += length;
            }
            uint slot = RadixSelect.Find(slots, equals, wanted, slots, out _, out long wantedCells);
            int cell = firstCell;
            for (cellKeys = keys; ; cell++)
            {
                int length = Lengths.ReadInt32(cell);
                if (slot < length && cellKeys[slot] == key && --wantedCells == 0)
                    return new LastKept(key, slot, cell);
                cellKeys += length;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void WriteKeys(float* scores, int length, uint* keys)
        {
            for (int j = 0; j < length; j++)
                keys[j] = RadixSelect.KeyOf(scores[j]);
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static int Write(uint* keys, int length, ulong bound, int* kept)
        {
            int count = 0;
            for (int j = 0; j < length; j++)
            {
                kept[count] = j;
                count += (((ulong)keys[j] << 32) | (uint)j) >= bound ? 1 : 0;
            }
            return count;
        }
    }
}
