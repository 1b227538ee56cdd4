using System.Runtime.CompilerServices;
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
/// Where a block mask hides keys, rows with the same blocks go together through the panels that they see, and the others cost nothing.
/// Workspace per thread: keys · (headDim + valueHeadDim) floats of panels, and 192 · (headDim + valueHeadDim); keys is kvLength, or the
/// sinks, a window and a query block where rows look no farther.
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
        public readonly int ValueWidth, Panels;

        // Panels of this many first keys have places of their own; those of later keys take turns in the others. Where rows look no
        // farther than a window, the places are those of the sinks and of a query block's window, and stay in the second-level cache.
        public readonly int FixedKeys, TurnKeys;
        public readonly bool HasTurns;

        public Plan(in AttentionProblem problem)
        {
            int right = problem.IsCausal ? 0 : problem.WindowRight;
            bool hasWindow = problem.WindowLeft >= 0 && right >= 0 && !problem.Has(AttentionOperands.HeadWindows);
            long allKeys = ToPanels(problem.KvLength), sinkKeys = hasWindow ? ToPanels(problem.SinkCount) : 0;
            long windowKeys = hasWindow ? ToPanels((long)problem.WindowLeft + right + BlockM + Columns) : allKeys;
            FixedKeys = (int)Math.Min(sinkKeys, allKeys);
            TurnKeys = (int)Math.Min(windowKeys, Math.Max(Columns, allKeys - FixedKeys));
            HasTurns = FixedKeys + TurnKeys < allKeys;
            long paddedKeys = FixedKeys + TurnKeys;
            ValueWidth = Rows<TSimd, TVector>.Padded(problem.ValueHeadDim);
            Keys = 0;
            Values = checked(Keys + paddedKeys * problem.HeadDim);
            Finiteness = checked(Values + paddedKeys * ValueWidth);
            Panels = (int)(paddedKeys / Columns);
            Packed = checked(Finiteness + (Panels + 15L) / 16 * 16);
            QueryRows = checked(Packed + (2L * Panels + 15) / 16 * 16);
            Scores = QueryRows + BlockM * problem.HeadDim;
            Visible = Scores + TileRows * ScoreStride;
            Sums = Visible + TileRows * ScoreStride;
            State = Sums + BlockM * ValueWidth;
            Row = State + 2 * BlockM;
            Floats = (Row + (long)Columns * AttentionProblem.MaxHeadDim + 63) / 64 * 64;
        }

        // Where a panel's first key lies among the packed ones.
        public int Place(int key) => key < FixedKeys ? key : FixedKeys + (key - FixedKeys) % TurnKeys;

        private static long ToPanels(long keys) => (keys + Columns - 1) / Columns * Columns;
    }

    // Keys that follow one another: Count from Key on, packed from Place on, with their scores from At on in the rows of a tile.
    private struct KeyRun
    {
        public int Key, Place, At, Count;

        // Adds keys at the end of a list of runs, whose At is the number of keys before them.
        public static void Append(KeyRun* runs, ref int length, int key, int place, int count)
        {
            ref KeyRun last = ref runs[length - 1];
            if (length > 0 && last.Key + last.Count == key && last.Place + last.Count == place)
                last.Count += count;
            else
                runs[length++] = new KeyRun { Key = key, Place = place, At = length > 1 ? runs[length - 2].At + runs[length - 2].Count : 0, Count = count };
        }

        // How many keys of some runs, at least one, come before a key.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int CountBefore(KeyRun* runs, int length, int key)
        {
            KeyRun* last = runs + length - 1;
            return key <= runs->Key ? 0 : key >= last->Key + last->Count ? last->At + last->Count : CountWithin(runs, key);
        }

        private static int CountWithin(KeyRun* run, int key)
        {
            while (key > run->Key + run->Count && key > run[1].Key)
                run++;
            return run->At + Math.Min(run->Count, key - run->Key);
        }
    }

    // The unit that follows: its head, and how many rows farther than those of the unit at hand its rows lie; the default for none.
    private readonly record struct NextRows(int Head, int Distance)
    {
        public readonly bool Exist = true;
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

        public readonly int LastEnd => Math.Max(SinkEnd, End);

        // The first panel at or after one with keys within reach; one after the last when there is none.
        public readonly int NextPanel(int key) => key < SinkEnd || key >= End ? key : Math.Max(key, First / Columns * Columns);
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
            new Span<long>(workspace + Plan.Packed, Plan.Panels).Clear();
            long tasks = (long)Call.Problem.NumSequences * Call.Problem.NumKvHeads, shared = Math.Min(tasks, workers), whole = tasks - shared;
            for (long task = Claim(ref ClaimedTasks); task < whole; task = Claim(ref ClaimedTasks))
            {
                AttentionSequence sequence = GetSequence(task, out int kvHead);
                for (long unit = 0; unit < Units(sequence); unit++)
                    RunQueryBlock(sequence, kvHead, unit, unit + 1, task, workspace);
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
                        RunQueryBlock(sequence, kvHead, units - 1 - unit, units - 2 - unit, task, workspace);
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

        // The units of a task are its query blocks, each for one head of the group after another.
        private readonly long Units(in AttentionSequence sequence) => (long)Blocks(sequence) * Call.Problem.GroupSize;

        // Packs the keys and values of a panel unless this task has done so before.
        private readonly void PackPanel(in AttentionSequence sequence, int kvHead, int key, int place, long task, float* workspace)
        {
            long* packed = (long*)(workspace + Plan.Packed) + place / Columns;
            long number = task * (Call.Problem.KvLength / Columns + 1L) + key / Columns + 1;
            if (*packed == number)
                return;
            PackPanel(sequence, kvHead, key, Math.Min(Columns, sequence.KvLength - key), place, workspace);
            *packed = number;
        }

        private readonly void PackPanel(in AttentionSequence sequence, int kvHead, int key0, int count, int place, float* workspace)
        {
            float* rows = workspace + Plan.Row;
            int headDim = Call.Problem.HeadDim;
            // panel[d, n] = key[n, d].
            float* panel = workspace + Plan.Keys + (long)place * headDim;
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
                if (!Plan.HasTurns)
                    AskForKeys(sequence, kvHead, key0 + Columns + j, 1);
                float* row = isReady ? (float*)Call.ValueRow(sequence, kvHead, key0 + j) : rows;
                if (!isReady)
                    Rows<TSimd, TVector>.Widen(Call.ValueRow(sequence, kvHead, key0 + j), Call.Value.Type, Call.Problem.ValueHeadDim, row);
                TVector rowZeros = TSimd.Zero; // no calls in its life: it stays in a register
                for (int column = 0; column < Plan.ValueWidth; column += Columns)
                {
                    int width = MatrixTile<TSimd, TVector>.PanelWidth(Plan.ValueWidth, column);
                    float* target = ValuePanel(workspace, column) + (long)(place + j) * width;
                    for (int c = 0; c < width; c += TSimd.Width)
                    {
                        TVector x = TSimd.Load(row + column + c);
                        TSimd.Store(x, target + c);
                        rowZeros = TSimd.MultiplyAdd(x, TSimd.Zero, rowZeros);
                    }
                }
                zeros = TSimd.Add(zeros, rowZeros);
            }
            workspace[Plan.Finiteness + place / Columns] = TSimd.Sum(zeros);
        }

        private readonly float* ValuePanel(float* workspace, int column) => workspace + Plan.Values + (long)column * (Plan.FixedKeys + Plan.TurnKeys);

        // Computes a unit while asking for the rows of the one that comes next, if it exists.
        private readonly void RunQueryBlock(in AttentionSequence sequence, int kvHead, long unit, long nextUnit, long task, float* workspace)
        {
            int group = Call.Problem.GroupSize, head = kvHead * group + (int)(unit % group), row = (int)(unit / group) * BlockM;
            int end = Math.Min(row + BlockM, sequence.QueryLength);
            nextUnit = Math.Clamp(nextUnit, 0, Units(sequence) - 1);
            var next = new NextRows(kvHead * group + (int)(nextUnit % group), (int)(nextUnit / group) * BlockM - row);
            var transform = new ScoreTransform<TSimd, TVector>(Call, sequence, head);
            while (row < end)
            {
                // Rows of different blocks of the mask have different keys: each such run of rows goes through its own alone.
                int rows = Call.BlockMask.IsPresent ? transform.AlikeRows(row, end) : end - row;
                RunRows(sequence, kvHead, head, transform, row, rows, next, task, workspace);
                row += rows;
            }
        }

        // Takes query rows through the panels of keys that some of them see, as many at a time as fit a tile's scores.
        private readonly void RunRows(
            in AttentionSequence sequence, int kvHead, int head, in ScoreTransform<TSimd, TVector> transform, int row0, int rows, NextRows next,
            long task, float* workspace)
        {
            int headDim = Call.Problem.HeadDim;
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
            KeyRun* runs = stackalloc KeyRun[BlockN / Columns];
            int length = 0, panels = 0;
            for (int key = NextPanel(reach, transform, row0, rows, 0); key < reach.LastEnd; key = NextPanel(reach, transform, row0, rows, key + Columns))
            {
                int place = Plan.Place(key);
                PackPanel(sequence, kvHead, key, place, task, workspace);
                KeyRun.Append(runs, ref length, key, place, Math.Min(Columns, sequence.KvLength - key));
                if (++panels < BlockN / Columns)
                    continue;
                RunTiles(sequence, kvHead, transform, ranges, row0, rows, next, runs, length, workspace);
                length = panels = 0;
                next = default;
            }
            if (panels > 0)
                RunTiles(sequence, kvHead, transform, ranges, row0, rows, next, runs, length, workspace);
            for (int r = 0; r < rows; r++)
            {
                AttentionRow<TSimd, TVector>.Write(
                    Call, sequence, head, row0 + r, maxima[r], totals[r], sums + r * Plan.ValueWidth, Plan.ValueWidth);
            }
        }

        // The first panel at or after one that is within reach and not hidden by the block mask.
        private readonly int NextPanel(in Reach reach, in ScoreTransform<TSimd, TVector> transform, int row0, int rows, int key)
        {
            for (; ; )
            {
                int next = reach.NextPanel(key);
                if (Call.BlockMask.IsPresent && next < reach.LastEnd)
                    next = Math.Max(next, transform.NextVisibleKey(row0, rows, next) / Columns * Columns);
                if (next == key || next >= reach.LastEnd)
                    return next;
                key = next;
            }
        }

        private readonly void RunTiles(
            in AttentionSequence sequence, int kvHead, in ScoreTransform<TSimd, TVector> transform, KeyRange* ranges, int row0, int rows,
            in NextRows next, KeyRun* runs, int length, float* workspace)
        {
            for (int r = 0; r < rows; r += TileRows)
            {
                if (next.Exist)
                    Ask(sequence, kvHead, next, row0 + r, ranges[r]);
                RunTile(transform, ranges + r, row0 + r, r, Math.Min(TileRows, rows - r), runs, length, workspace);
            }
        }

        // Asks for the rows of the next unit in place of a tile's, and for the keys that a window adds for them: they lie far apart, and reading
        // them when they are wanted took 7 % of the time with a window of 256 at 64 elements, and 2 % without.
        private readonly void Ask(in AttentionSequence sequence, int kvHead, in NextRows next, int row, in KeyRange range)
        {
            int first = row + next.Distance;
            for (int i = first; i < Math.Min(first + TileRows, sequence.QueryLength); i++)
            {
                Ask(Call.QueryRow(sequence, next.Head, i), Call.Problem.HeadDim * Call.Query.Type.SizeInBytes());
                Ask(Call.OutputRow(sequence, next.Head, i), Call.Problem.ValueHeadDim * Call.Output.Type.SizeInBytes());
            }
            if (Plan.HasTurns && next.Distance != 0)
                AskForKeys(sequence, kvHead, (next.Distance > 0 ? range.End : range.First) + next.Distance, TileRows);
        }

        private readonly void AskForKeys(in AttentionSequence sequence, int kvHead, int key, int count)
        {
            for (int j = Math.Max(key, 0); j < Math.Min(key + count, sequence.KvLength); j++)
            {
                Ask(Call.KeyRow(sequence, kvHead, j), Call.Problem.HeadDim * Call.Key.Type.SizeInBytes());
                Ask(Call.ValueRow(sequence, kvHead, j), Call.Problem.ValueHeadDim * Call.Value.Type.SizeInBytes());
            }
        }

        private static void Ask(byte* row, int bytes)
        {
            for (int at = 0; at < bytes; at += LineBytes)
                Vectors.PrefetchFar(row + at);
        }

        // Takes the rows of one tile (of which the first is row r of the block, `row` of the sequence) through runs of panels.
        private readonly void RunTile(
            in ScoreTransform<TSimd, TVector> transform, KeyRange* ranges, int row, int r, int rows, KeyRun* blockRuns, int blockLength, float* workspace)
        {
            var reach = new Reach();
            for (int i = 0; i < rows; i++)
                reach.Add(ranges[i]);
            // Whole vectors of keys; what that adds to the sinks is hidden from each row.
            int first = reach.First / TSimd.Width * TSimd.Width, sinkEnd = (int)Math.Min(((long)reach.SinkEnd + TSimd.Width - 1) / TSimd.Width * TSimd.Width, int.MaxValue);
            if (sinkEnd >= first)
                first = 0;
            if (first == 0)
                sinkEnd = 0;
            int lastEnd = first == 0 ? reach.LastEnd : reach.End;
            float* s = workspace + Plan.Scores;
            // The part of the runs that some row of the tile sees.
            KeyRun* runs = stackalloc KeyRun[BlockN / Columns + 1];
            int length = 0, stop = 0;
            float zeros = 0f;
            for (int b = 0; b < blockLength; b++)
            {
                KeyRun run = blockRuns[b];
                for (int n = 0; n < run.Count; n += Columns)
                {
                    int key = run.Key + n, end = Math.Min(key + Columns, run.Key + run.Count);
                    if (key < sinkEnd)
                        MultiplyPart(transform, run, key, Math.Min(end, sinkEnd), row, rows, r, runs, ref length, ref stop, ref zeros, workspace);
                    MultiplyPart(
                        transform, run, Math.Max(key, first), Math.Min(end, lastEnd), row, rows, r, runs, ref length, ref stop, ref zeros, workspace);
                }
            }
            if (length == 0)
                return;
            bool isFinite = zeros == 0f, hasTransform = Call.Problem.HasScoreTransform;
            float* maxima = workspace + Plan.State + r, totals = maxima + BlockM;
            float* sums = workspace + Plan.Sums + r * Plan.ValueWidth;
            // All maxima before the first exponential: the reductions of several rows overlap.
            (int From, int To)* seen = stackalloc (int, int)[TileRows];
            for (int i = 0; i < rows; i++)
            {
                // The row's keys: from .. to − 1, of which those of a gap between sinks and window are hidden one by one.
                int sinks = KeyRun.CountBefore(runs, length, ranges[i].SinkEnd), from = KeyRun.CountBefore(runs, length, ranges[i].First);
                int to = Math.Max(from, KeyRun.CountBefore(runs, length, ranges[i].End)), gapEnd = from;
                if (sinks > 0)
                    (from, to) = (0, from == to ? sinks : to);
                float* p = s + i * ScoreStride;
                if (hasTransform && from < to)
                    Transform(transform, row + i, runs, length, from, to, p);
                if (sinks > 0 && sinks < gapEnd && sinks < to)
                    new Span<float>(p + sinks, gapEnd - sinks).Fill(float.NegativeInfinity);
                if (!isFinite)
                    Keep(p, from, to, stop, workspace + Plan.Visible + i * ScoreStride);
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
                if (from > 0)
                    new Span<float>(p, from).Clear();
                if (to < stop)
                    new Span<float>(p + to, stop - to).Clear();
            }
            for (int i = 0; i < length; i++)
                AddValues(workspace, s + runs[i].At, isFinite ? null : workspace + Plan.Visible + runs[i].At, rows, runs[i].Place, runs[i].Count, sums);
        }

        // The products of a tile's rows with some keys of a panel, unless a mask hides them all.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void MultiplyPart(
            in ScoreTransform<TSimd, TVector> transform, in KeyRun panels, int key, int end, int row, int rows, int r, KeyRun* runs, ref int length,
            ref int stop, ref float zeros, float* workspace)
        {
            if (key >= end || ((Call.Mask.IsPresent || Call.BlockMask.IsPresent) && transform.HidesAll(row, rows, key, end - key)))
                return;
            int headDim = Call.Problem.HeadDim, place = panels.Place + key - panels.Key, column = place % Columns;
            int width = Rows<TSimd, TVector>.Padded(end - key); // whole vectors hold every key in reach
            MatrixTile<TSimd, TVector>.Multiply(
                workspace + Plan.QueryRows + r * headDim, headDim, rows, workspace + Plan.Keys + (long)(place - column) * headDim + column, Columns,
                width, headDim, workspace + Plan.Scores + stop, ScoreStride, accumulate: false);
            zeros += workspace[Plan.Finiteness + place / Columns];
            KeyRun.Append(runs, ref length, key, place, end - key);
            stop += end - key;
        }

        // Transforms a row's scores from .. to − 1, and with them those before in the first one's vector, run by run.
        private static void Transform(
            in ScoreTransform<TSimd, TVector> transform, int row, KeyRun* runs, int length, int from, int to, float* scores)
        {
            for (int i = 0; i < length; i++)
            {
                int first = Math.Max(runs[i].At, from / TSimd.Width * TSimd.Width), end = Math.Min(runs[i].At + runs[i].Count, to);
                if (first < end)
                    transform.Apply(row, runs[i].Key + first - runs[i].At, end - first, scores + first);
            }
        }

        // A copy of a row's scores, −∞ where the row does not look.
        private static void Keep(float* scores, int from, int to, int stop, float* target)
        {
            new Span<float>(target, stop).Fill(float.NegativeInfinity);
            new ReadOnlySpan<float>(scores + from, to - from).CopyTo(new Span<float>(target + from, to - from));
        }

        // sums += p · v. Given the scores, leaves out what they hide.
        private readonly void AddValues(float* workspace, float* p, float* scores, int rows, int place, int count, float* sums)
        {
            for (int column = 0; column < Plan.ValueWidth; column += Columns)
            {
                int width = MatrixTile<TSimd, TVector>.PanelWidth(Plan.ValueWidth, column);
                float* panel = ValuePanel(workspace, column) + (long)place * width;
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
