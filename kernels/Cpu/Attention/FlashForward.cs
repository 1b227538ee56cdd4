using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Fused attention for many query rows (Dao 2023, arXiv:2307.08691): for a block of 192 query rows and one block of 512 keys
/// after another,
/// <code>
/// s = transform((scale · log2 e · q) · kᵀ)     m' = max(m, rowmax s)      p = 2^(s − m')
/// l = l · 2^(m − m') + rowsum p                o = o · 2^(m − m') + p · v
/// </code>
/// and at the end output = o / l, lse = (m + log2 l) · ln 2. Six rows make a tile, whose scores stay in the first-level cache.
/// It computes the panels of keys that any of its rows sees, so a window costs its length and a mask costs what it leaves.
/// Within them a hidden key has p = 0, which the micro-kernel may multiply by a finite value; a block with a value that is
/// not finite goes key by key instead, so that no row takes up what it does not see.
/// Parallel scheme: a task is one (sequence, key/value head); a thread packs the blocks of keys (transposed) and values that
/// its query rows see into tile panels, once for all of the group. Threads claim whole tasks as they become free; the last
/// ones, one a thread, are claimed query block by query block, and a thread that is done helps the others. Each row is
/// computed by one thread in the order of the keys, so that the bits depend neither on timing nor on the number of threads.
/// Workspace per thread: kvLength · (headDim + valueHeadDim) floats of panels, and 192 · (headDim + valueHeadDim).
/// Cost: 2 · rows · visible keys · (headDim + valueHeadDim) FLOPs; reads each key and value once per task.
/// </summary>
public sealed unsafe class FlashForward<TSimd, TVector>() : CpuKernel<AttentionProblem>($"attention-forward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockM = 192; // for each, keys and values come from the third-level cache: 96 rows took 7 % longer at 128 elements
    private const int BlockN = 512;
    private const int TileRows = MatrixTile<TSimd, TVector>.Rows;
    private const int LineBytes = 64;

    // Floats from a row of scores to the next: an odd number of cache lines, so that the rows of a tile do not meet in the
    // same cache sets: by themselves, products 64 deep were 7 % faster than with rows 2 KiB apart.
    private const int ScoreStride = BlockN + 16;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in AttentionProblem problem) =>
        problem.KvType.IsFloat() ? null : $"reads f32, f16 and bf16 keys and values, not {problem.KvType.ToText()}";

    private static int Columns => MatrixTile<TSimd, TVector>.Columns;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionProblem problem, int threads) =>
        checked(threads * (new Plan(problem).Floats * sizeof(float) + LineBytes));

    /// <inheritdoc/>
    public override void Run(in AttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        if (problem.BatchSize == 0 || problem.QueryLength == 0 || problem.NumHeads == 0)
            return;
        var body = new Body { Call = new AttentionCall(problem, operands), Plan = new Plan(problem), Workspace = (float*)workspace };
        new Span<byte>(body.ClaimedUnits(0, workers.Count), LineBytes * workers.Count).Clear();
        workers.Run(ref body);
    }

    // Where each thread's buffers lie in its part of the workspace, in floats.
    private readonly struct Plan
    {
        public readonly long Keys, Values, Finiteness, Packed, QueryRows, Scores, Visible, Sums, State, Row, Floats;
        public readonly int ValueWidth, KeyPanels;

        public Plan(in AttentionProblem problem)
        {
            long paddedKeys = ((long)problem.KvLength + Columns - 1) / Columns * Columns;
            ValueWidth = (problem.ValueHeadDim + TSimd.Width - 1) / TSimd.Width * TSimd.Width;
            Keys = 0;
            Values = checked(Keys + paddedKeys * problem.HeadDim);
            Finiteness = checked(Values + paddedKeys * ValueWidth);
            KeyPanels = (int)(paddedKeys / Columns);
            Packed = checked(Finiteness + (KeyPanels + 15L) / 16 * 16);
            QueryRows = checked(Packed + (2L * KeyPanels + 15) / 16 * 16);
            Scores = QueryRows + BlockM * problem.HeadDim;
            Visible = Scores + TileRows * ScoreStride;
            Sums = Visible + TileRows * ScoreStride;
            State = Sums + BlockM * ValueWidth;
            Row = State + 2 * BlockM;
            Floats = (Row + (long)Columns * AttentionProblem.MaxHeadDim + 63) / 64 * 64;
        }
    }

    // The keys that a query block sees: those before SinkEnd and those from First to End.
    private struct Reach()
    {
        public int SinkEnd, First = int.MaxValue, End;

        public void Add(in KeyRange range)
        {
            SinkEnd = Math.Max(SinkEnd, range.SinkEnd);
            if (range.First < range.End)
                (First, End) = (Math.Min(First, range.First), Math.Max(End, range.End));
        }

        // Where the first block of keys at or after a key begins: at a panel with keys within reach, or at the end.
        public readonly int NextBlock(int key0) =>
            key0 < SinkEnd || key0 >= End ? key0 : Math.Max(key0, First / Columns * Columns);

        public readonly bool IsDone(int key0) => key0 >= SinkEnd && key0 >= End;
    }

    private struct Body : IParallelBody
    {
        public AttentionCall Call;
        public Plan Plan;
        public float* Workspace;
        public long ClaimedTasks;

        public void Execute(int worker, int workers)
        {
            float* workspace = Workspace + worker * Plan.Floats;
            new Span<long>(workspace + Plan.Packed, Plan.KeyPanels).Clear();
            long tasks = (long)Call.Problem.NumSequences * Call.Problem.NumKvHeads, shared = Math.Min(tasks, workers), whole = tasks - shared;
            for (long task = Claim(ref ClaimedTasks); task < whole; task = Claim(ref ClaimedTasks))
            {
                AttentionSequence sequence = GetSequence(task, out int kvHead);
                for (long unit = 0; unit < Units(sequence); unit++)
                    RunQueryBlock(sequence, kvHead, unit, task, workspace);
            }
            for (long i = 0; i < shared; i++)
            {
                long number = (worker + i) % shared, task = whole + number;
                AttentionSequence sequence = GetSequence(task, out int kvHead);
                long units = Units(sequence);
                ref long claimed = ref *ClaimedUnits(number, workers);
                // Causal: the longest first.
                for (long unit = ClaimRun(ref claimed, units, workers, out long end); unit < units; unit = ClaimRun(ref claimed, units, workers, out end))
                {
                    for (; unit < end; unit++)
                        RunQueryBlock(sequence, kvHead, units - 1 - unit, task, workspace);
                }
            }
        }

        // The counter of a shared task, on a cache line of its own.
        public readonly long* ClaimedUnits(long number, int workers) =>
            (long*)((byte*)(Workspace + workers * Plan.Floats) + number * LineBytes);

        private static long Claim(ref long next) => Interlocked.Increment(ref next) - 1;

        // Claims neighbouring units, which share the panels of their windows: a thread's half of what is left, then half of that.
        private static long ClaimRun(ref long next, long units, int workers, out long end)
        {
            for (; ; )
            {
                long first = Volatile.Read(ref next);
                end = Math.Min(units, first + Math.Max(1, (units - first) / (2 * workers)));
                if (first >= units || Interlocked.CompareExchange(ref next, end, first) == first)
                    return first;
            }
        }

        private readonly AttentionSequence GetSequence(long task, out int kvHead)
        {
            kvHead = (int)(task % Call.Problem.NumKvHeads);
            return Call.GetSequence((int)(task / Call.Problem.NumKvHeads), kvHead);
        }

        private static int Blocks(in AttentionSequence sequence) => (int)(((long)sequence.QueryLength + BlockM - 1) / BlockM);

        // The units of a task are its query blocks, head by head.
        private readonly long Units(in AttentionSequence sequence) => (long)Blocks(sequence) * Call.Problem.GroupSize;

        // Packs the keys and values of a block, but for the panels that this task has packed before.
        private readonly void PackBlock(in AttentionSequence sequence, int kvHead, int key0, long task, float* workspace)
        {
            long* packed = (long*)(workspace + Plan.Packed);
            for (int key = key0; key < Math.Min(key0 + (long)BlockN, sequence.KvLength); key += Columns)
            {
                if (packed[key / Columns] == task + 1)
                    continue;
                PackPanel(sequence, kvHead, key, Math.Min(Columns, sequence.KvLength - key), workspace);
                packed[key / Columns] = task + 1;
            }
        }

        private readonly void PackPanel(in AttentionSequence sequence, int kvHead, int key0, int count, float* workspace)
        {
            float* rows = workspace + Plan.Row;
            int headDim = Call.Problem.HeadDim;
            // panel[d, n] = key[n, d].
            float* panel = workspace + Plan.Keys + (long)key0 * headDim;
            if (Call.Key.Type == DataType.Float32 && Call.RunLength(sequence, key0) >= count)
            {
                Rows<TSimd, TVector>.Transpose(
                    (float*)Call.KeyRow(sequence, kvHead, key0), Call.Key.Layout.Stride(1), count, headDim, panel, Columns);
            }
            else
            {
                for (int n = 0; n < count; n++)
                    Rows<TSimd, TVector>.Widen(Call.KeyRow(sequence, kvHead, key0 + n), Call.Key.Type, headDim, rows + n * headDim);
                Rows<TSimd, TVector>.Transpose(rows, headDim, count, headDim, panel, Columns);
            }
            // Panels of up to `Columns` value elements, each [kvLength, width]; the last is as narrow as whole vectors allow.
            // x · 0 summed up is 0, or NaN if any x is not finite.
            new Span<float>(rows, Plan.ValueWidth).Clear();
            TVector zeros = TSimd.Zero;
            bool isReady = Call.Value.Type == DataType.Float32 && Call.Problem.ValueHeadDim == Plan.ValueWidth;
            for (int j = 0; j < count; j++)
            {
                float* row = isReady ? (float*)Call.ValueRow(sequence, kvHead, key0 + j) : rows;
                if (!isReady)
                    Rows<TSimd, TVector>.Widen(Call.ValueRow(sequence, kvHead, key0 + j), Call.Value.Type, Call.Problem.ValueHeadDim, row);
                for (int column = 0; column < Plan.ValueWidth; column += Columns)
                {
                    int width = MatrixTile<TSimd, TVector>.PanelWidth(Plan.ValueWidth, column);
                    float* target = ValuePanel(workspace, column) + (long)(key0 + j) * width;
                    for (int c = 0; c < width; c += TSimd.Width)
                    {
                        TVector x = TSimd.Load(row + column + c);
                        TSimd.Store(x, target + c);
                        zeros = TSimd.MultiplyAdd(x, TSimd.Zero, zeros);
                    }
                }
            }
            workspace[Plan.Finiteness + key0 / Columns] = TSimd.Sum(zeros);
        }

        private readonly float* ValuePanel(float* workspace, int column) => workspace + Plan.Values + (long)column * Call.Problem.KvLength;

        private readonly void RunQueryBlock(in AttentionSequence sequence, int kvHead, long unit, long task, float* workspace)
        {
            int blocks = Blocks(sequence), head = kvHead * Call.Problem.GroupSize + (int)(unit / blocks), row0 = (int)(unit % blocks) * BlockM;
            int rows = Math.Min(BlockM, sequence.QueryLength - row0), headDim = Call.Problem.HeadDim;
            float* queryRows = workspace + Plan.QueryRows;
            float* sums = workspace + Plan.Sums;
            float* maxima = workspace + Plan.State, totals = maxima + BlockM;
            KeyRange* ranges = stackalloc KeyRange[BlockM];
            var reach = new Reach();
            for (int r = 0; r < rows; r++)
            {
                ranges[r] = Call.GetRange(sequence, head, row0 + r);
                reach.Add(ranges[r]);
                AttentionRow<TSimd, TVector>.LoadQuery(
                    Call.QueryRow(sequence, head, row0 + r), Call.Query.Type, Call.Problem, queryRows + r * headDim);
                maxima[r] = float.NegativeInfinity;
                totals[r] = 0f;
            }
            new Span<float>(sums, rows * Plan.ValueWidth).Clear();
            var transform = new ScoreTransform<TSimd, TVector>(Call, sequence, head);
            for (int key0 = reach.NextBlock(0); !reach.IsDone(key0); key0 = reach.NextBlock(key0 + BlockN))
            {
                PackBlock(sequence, kvHead, key0, task, workspace);
                for (int r = 0; r < rows; r += TileRows)
                    RunTile(transform, ranges + r, row0 + r, r, Math.Min(TileRows, rows - r), key0, workspace);
            }
            for (int r = 0; r < rows; r++)
            {
                AttentionRow<TSimd, TVector>.Write(
                    Call, sequence, head, row0 + r, maxima[r], totals[r], sums + r * Plan.ValueWidth, Plan.ValueWidth);
            }
        }

        // Takes the rows of one tile (of which the first is row r of the block, `row` of the sequence) through a block of keys.
        private readonly void RunTile(
            in ScoreTransform<TSimd, TVector> transform, KeyRange* ranges, int row, int r, int rows, int key0, float* workspace)
        {
            var reach = new Reach();
            for (int i = 0; i < rows; i++)
                reach.Add(ranges[i]);
            int sinkEnd = Math.Clamp(reach.SinkEnd - key0, 0, BlockN), first = Math.Clamp(reach.First - key0, 0, BlockN);
            int end = Math.Max(sinkEnd, Math.Clamp(reach.End - key0, 0, BlockN));
            int headDim = Call.Problem.HeadDim;
            bool hasMask = Call.Mask.IsPresent || Call.BlockMask.IsPresent, hasTransform = Call.Problem.HasScoreTransform;
            float* q = workspace + Plan.QueryRows + r * headDim;
            float* s = workspace + Plan.Scores;
            // Bit n: some row sees some key of panel n.
            ulong live = 0;
            int begin = BlockN, stop = 0;
            float zeros = 0f;
            for (int n = 0; n < end; n += Columns)
            {
                int count = Math.Min(Columns, end - n), skip = n < sinkEnd ? 0 : Math.Clamp(first - n, 0, Columns) / TSimd.Width * TSimd.Width;
                if (skip >= count || (hasMask && transform.HidesAll(row, rows, key0 + n, count)))
                    continue;
                int width = (count - skip + TSimd.Width - 1) / TSimd.Width * TSimd.Width; // whole vectors hold every key in reach
                MatrixTile<TSimd, TVector>.Multiply(
                    q, headDim, rows, workspace + Plan.Keys + (long)(key0 + n) * headDim + skip, Columns, width, headDim,
                    s + n + skip, ScoreStride, accumulate: false);
                live |= 1ul << (n / Columns);
                zeros += workspace[Plan.Finiteness + (key0 + n) / Columns];
                (begin, stop) = (Math.Min(begin, n + skip), n + count);
            }
            if (live == 0)
                return;
            bool isFinite = zeros == 0f;
            float* maxima = workspace + Plan.State + r, totals = maxima + BlockM;
            float* sums = workspace + Plan.Sums + r * Plan.ValueWidth;
            // All maxima before the first exponential: the reductions of several rows overlap.
            (int From, int To)* seen = stackalloc (int, int)[TileRows];
            for (int i = 0; i < rows; i++)
            {
                // The row's keys: from .. to − 1, of which those of a gap between sinks and window are hidden one by one.
                int sinks = Math.Clamp(ranges[i].SinkEnd - key0, begin, stop), from = Math.Clamp(ranges[i].First - key0, begin, stop);
                int to = Math.Clamp(ranges[i].End - key0, from, stop), gapEnd = from;
                if (sinks > begin)
                    (from, to) = (begin, from == to ? sinks : to);
                float* p = s + i * ScoreStride;
                if (hasTransform && from < to)
                    transform.Apply(row + i, key0 + from, to - from, p + from);
                if (sinks > begin && sinks < gapEnd && sinks < to)
                    new Span<float>(p + sinks, gapEnd - sinks).Fill(float.NegativeInfinity);
                if (!isFinite)
                    Keep(p, begin, from, to, stop, workspace + Plan.Visible + i * ScoreStride);
                if (from < to)
                    AttentionRow<TSimd, TVector>.Raise(p + from, to - from, ref maxima[i], ref totals[i], sums + i * Plan.ValueWidth, Plan.ValueWidth);
                (seen[i].From, seen[i].To) = (from, to);
            }
            for (int i = 0; i < rows; i++)
            {
                (int from, int to) = seen[i];
                float* p = s + i * ScoreStride;
                if (from < to)
                    totals[i] += Softmax<TSimd, TVector>.Exp2InPlace(p + from, to - from, AttentionRow<TSimd, TVector>.Shift(maxima[i]));
                if (begin < from)
                    new Span<float>(p + begin, from - begin).Clear();
                if (to < stop)
                    new Span<float>(p + to, stop - to).Clear();
            }
            while (live != 0)
            {
                // One run of neighbouring panels after another.
                int n = BitOperations.TrailingZeroCount(live), panels = BitOperations.TrailingZeroCount(~(live >> n));
                int key = Math.Max(n * Columns, begin), count = Math.Min((n + panels) * Columns, stop) - key;
                AddValues(workspace, s + key, isFinite ? null : workspace + Plan.Visible + key, rows, key0 + key, count, sums);
                live = n + panels == 64 ? 0 : live >> (n + panels) << (n + panels);
            }
        }

        // A copy of a row's scores, −∞ where the row does not look.
        private static void Keep(float* scores, int begin, int from, int to, int stop, float* target)
        {
            new Span<float>(target + begin, stop - begin).Fill(float.NegativeInfinity);
            new ReadOnlySpan<float>(scores + from, to - from).CopyTo(new Span<float>(target + from, to - from));
        }

        // sums += p · v. Given the scores, leaves out what they hide.
        private readonly void AddValues(float* workspace, float* p, float* scores, int rows, int key, int count, float* sums)
        {
            for (int column = 0; column < Plan.ValueWidth; column += Columns)
            {
                int width = MatrixTile<TSimd, TVector>.PanelWidth(Plan.ValueWidth, column);
                float* panel = ValuePanel(workspace, column) + (long)key * width;
                if (scores == null)
                {
                    MatrixTile<TSimd, TVector>.Multiply(
                        p, ScoreStride, rows, panel, width, count, sums + column, Plan.ValueWidth, accumulate: true);
                    continue;
                }
                for (int i = 0; i < rows; i++)
                {
                    float* sum = sums + (long)i * Plan.ValueWidth + column;
                    for (int c = 0; c < width; c += TSimd.Width)
                        AddVisible(p + i * ScoreStride, scores + i * ScoreStride, panel + c, width, count, sum + c);
                }
            }
        }

        // As the micro-kernel does it, bit for bit, but for the keys left out.
        private static void AddVisible(float* p, float* scores, float* values, int stride, int count, float* sum)
        {
            TVector total = TSimd.Zero;
            for (int j = 0; j < count; j++)
            {
                if (scores[j] != float.NegativeInfinity)
                    total = TSimd.MultiplyAdd(TSimd.Broadcast(p[j]), TSimd.Load(values + (long)j * stride), total);
            }
            TSimd.Store(TSimd.Add(TSimd.Load(sum), total), sum);
        }
    }
}
