using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

// Partial states of heads that were cut, and how they become one.
public sealed unsafe partial class FlashDecode<TSimd, TVector>
{
    private partial struct Body
    {
        public readonly bool HasSplits(int shares)
        {
            for (int i = 1; i < shares; i++)
            {
                if (Cuts[i].Key > 0)
                    return true;
            }
            return false;
        }

        // Merges the partial states of the rows that belong to `worker` of every unit that a cut goes through. The part that
        // begins a unit is in the second state of its thread, the others in the first of theirs.
        public readonly void MergeStates(int worker, int workers)
        {
            for (int thread = 0; thread < workers - 1; thread++)
            {
                Cut begin = Cuts[thread], end = Cuts[thread + 1];
                if (end.Key == 0 || (begin.Unit == end.Unit && begin.Key > 0))
                    continue;
                Unit unit = GetUnit(end.Unit);
                int lanes = Kept == null ? unit.Rows : Problem.GroupSize; // the rows of a head add to one mass, one after another
                (long first, long last) = Partition.Range(lanes, worker, workers);
                for (long lane = first; lane < last; lane++)
                {
                    for (long row = lane; row < unit.Rows; row += lanes)
                        MergeRow(unit, (int)row, thread, workers);
                }
            }
        }

        // Merges the parts of a row of the unit that the cut after a thread's share goes through.
        private readonly void MergeRow(in Unit unit, int row, int thread, int workers)
        {
            Cut cut = Cuts[thread + 1];
            float* target = State(thread, 1);
            float maximum = Maximum(target, row);
            int end = thread + 1;
            for (; end < workers && Cuts[end].Unit == cut.Unit && Cuts[end].Key > 0; end++)
            {
                if (Cuts[end] != Cuts[end + 1])
                    AddState(target, State(end, 0), row);
            }
            Write(unit, row, target);
            if (Kept == null)
                return;
            BeginMass(unit, row);
            AddMass(unit, row, 0, cut.Key, maximum);
            for (int part = thread + 1; part < end; part++)
            {
                Cut next = Cuts[part + 1];
                AddMass(unit, row, Cuts[part].Key, next.Unit == cut.Unit ? next.Key : unit.Keys.Count, Maximum(State(part, 0), row));
            }
        }

        // A state: sums [rows, valueWidth], maxima [rows], totals [rows].
        private readonly float* State(int thread, int number) => (float*)Thread(thread) + number * Plan.StateFloats;

        private readonly float Maximum(float* state, int row) => state[(long)Plan.Rows * Plan.ValueWidth + row];

        private readonly void AddState(float* target, float* source, long row)
        {
            long maxima = (long)Plan.Rows * Plan.ValueWidth + row, totals = maxima + Plan.Rows, sums = row * Plan.ValueWidth;
            float maximum = Math.Max(target[maxima], source[maxima]);
            if (maximum == float.NegativeInfinity)
                return;
            float targetFactor = MathF.Pow(2f, target[maxima] - maximum), sourceFactor = MathF.Pow(2f, source[maxima] - maximum);
            TVector f = TSimd.Broadcast(targetFactor), g = TSimd.Broadcast(sourceFactor);
            for (int c = 0; c < Plan.ValueWidth; c += TSimd.Width)
            {
                TVector scaled = TSimd.Multiply(TSimd.Load(target + sums + c), f);
                TSimd.Store(TSimd.MultiplyAdd(TSimd.Load(source + sums + c), g, scaled), target + sums + c);
            }
            target[totals] = target[totals] * targetFactor + source[totals] * sourceFactor;
            target[maxima] = maximum;
        }

        private readonly void Write(in Unit unit, int row, float* state)
        {
            float* maxima = state + (long)Plan.Rows * Plan.ValueWidth, sums = state + (long)row * Plan.ValueWidth;
            int size = Problem.ValueHeadDim, rest = size % TSimd.Width;
            if (size >= TSimd.Width && rest > 0) // the last vector's sums are those of the last columns: drop what is there twice
                new Span<float>(sums + Plan.ValueWidth - rest, rest).CopyTo(new Span<float>(sums + size - rest, rest));
            AttentionRow<TSimd, TVector>.Write(
                *Call, unit.Sequence, HeadOf(unit, row), QueryOf(unit, row), maxima[row], maxima[Plan.Rows + row], sums, Plan.ValueWidth);
        }
    }

    private struct Merge : IParallelBody
    {
        public Body Body;

        public void Execute(int worker, int workers) => Body.MergeStates(worker, workers);
    }
}
