using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Attention of a few query rows over a long cache (Dao et al. 2023, "Flash-Decoding"): keys and values are streamed once, at
/// memory speed, for all rows of a group: the query rows of all heads that share the key/value head. Per block of 256 keys:
/// scores for four rows at a time, what the problem makes of them, the online softmax of each row, then the weighted sum of
/// the values, all from registers; the block stays in the second-level cache. Rows of keys and values are reached through a
/// list of addresses, so that pages of any size cost what contiguous memory does. Only keys that some row sees are read.
/// Parallel scheme: the keys of all heads are one line that is cut evenly over the threads, whatever the length of each
/// head; a head that a cut goes through has partial states, merged afterwards in a fixed order (o = Σ 2^(m_s − m) · o_s / l).
/// Workspace: per thread two states of valueHeadDim + 2 floats a row, and headDim + 272 floats a row, for at most 64 rows or
/// a group; it does not grow with the cache. Cost: visible keys · (headDim + valueHeadDim) elements read per sequence,
/// key/value head and 64 rows.
/// </summary>
/// <param name="name">The name without the vector set: any number of query rows is computed, so forward lists this one too.</param>
public sealed unsafe class FlashDecode<TSimd, TVector>(string name = "attention-decode/cpu") : CpuKernel<AttentionProblem>($"{name}-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockN = 256; // 128 KiB of f32 keys, then as much of values: 128, 64 and 32 keys took about 4, 13 and 25 % longer
    private const int SeenWords = BlockN / 64;
    private const int ScoreStride = BlockN + 16; // steps of several keys, and whole vectors, may write past a row's last score
    private const int MaxRows = 64; // of a unit: bounds the workspace; so many rows are no longer bound by memory
    private const int MinKeysPerSplit = 128; // twice this must be there to cut a head: below a merge costs more than it brings
    private const int KeysPerUnit = 16; // what beginning and ending a head costs, in keys
    private const int MinBytesToShare = 1 << 17; // read from cache in about the time that handing over work takes

    // Rows from the one at work to the one asked for, since arithmetic leaves the few outstanding misses of a core idle. They go to the
    // second-level cache: two cores of a Zen 4 read f32 rows of 128 elements, for four query rows, at 13 GB/s without asking, at 17 where
    // they asked for 16 rows ahead in the first-level cache, and at 22, 26, 25 and 25 for 16, 24, 32 and 64 in the second-level one (a
    // plain loop: 31). One core of an Intel Xeon made 63 % of a plain loop without asking and 92 % with 16 in the first-level cache.
    private const int Ahead = 24;
    private const float Log2E = 1.44269504f;
    private const int StepRows = 32; // rows of values that stay in the first-level cache while columns are done one after another

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionProblem problem, int threads) => new Plan(problem, ThreadsFor(problem, threads)).Bytes;

    /// <inheritdoc/>
    public override void Run(in AttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers) =>
        Run(problem, operands, default, workspace, workers);

    /// <summary>Workspace of a pass that sums up weights: the scores of all rows lie behind what decoding takes.</summary>
    internal static long GetMassWorkspaceBytes(in AttentionProblem problem, int threads) =>
        checked(new Plan(problem, ThreadsFor(problem, threads)).Bytes + ScoreCount(problem) * sizeof(float));

    /// <summary>Decodes, and sums up over the rows what weight each key got.</summary>
    /// <param name="problem">The problem; not ragged where weights are summed.</param>
    /// <param name="operands">Its operands.</param>
    /// <param name="mass">f32 [batchSize, numHeads, kvLength], written; lse must be there then. The default for none.</param>
    /// <param name="workspace">Room for the plan, and for scores.</param>
    /// <param name="workers">Threads.</param>
    internal static void Run(
        in AttentionProblem problem, ReadOnlySpan<RawView> operands, in RawView mass, void* workspace, WorkerPool workers)
    {
        if (problem.BatchSize == 0 || problem.QueryLength == 0 || problem.NumHeads == 0)
        {
            for (int i = 0; mass.IsPresent && i < problem.BatchSize * problem.NumHeads; i++)
                new Span<float>(mass.Address(i / problem.NumHeads, i % problem.NumHeads), problem.KvLength).Clear();
            return;
        }
        var call = new AttentionCall(problem, operands);
        var body = new Body { Call = &call, Plan = new Plan(problem, ThreadsFor(problem, workers.Count)), Workspace = (byte*)workspace };
        if (mass.IsPresent)
        {
            body.AllScores = (float*)(body.Workspace + body.Plan.Bytes);
            if (SkipsKeys(problem))
                new Span<float>(body.AllScores, checked((int)ScoreCount(problem))).Fill(float.NegativeInfinity);
        }
        int shares = body.CutEvenly(ThreadsFor(problem, workers.Count));
        if (shares == 1)
        {
            body.Execute(0, 1);
        }
        else
        {
            workers.Run(ref body);
            if (body.HasSplits(shares))
            {
                var merge = new Merge { Body = body };
                workers.Run(ref merge);
            }
        }
        if (!mass.IsPresent)
            return;
        var sum = new Sum { Body = body, Mass = mass };
        if (shares == 1)
            sum.Execute(0, 1);
        else
            workers.Run(ref sum);
    }

    private static long ScoreCount(in AttentionProblem problem) =>
        checked((long)problem.NumSequences * problem.NumHeads * problem.QueryLength * ScoreRowStride(problem));

    private static long ScoreRowStride(in AttentionProblem problem) => (problem.KvLength + 31L) / 16 * 16;

    // Whether some row may not come to see, and give a score to, each key of its head.
    private static bool SkipsKeys(in AttentionProblem problem) =>
        problem.QueryLength > 1 || problem.HasWindow || problem.WindowRight >= 0 || problem.MaskShape != 0 || problem.MaskBlock > 0
        || problem.Alignment != CausalAlignment.BottomRight;

    private static int ThreadsFor(in AttentionProblem problem, int threads) => problem.Bytes < MinBytesToShare ? 1 : threads;

    // Where a thread's share of the work begins: at a key, counted among those streamed, of a unit.
    private readonly record struct Cut(long Unit, long Key);

    // The query rows of one group of one sequence: rows QueryRow .. QueryRow + QueryRows − 1 of each of the group's heads.
    private readonly record struct Unit(AttentionSequence Sequence, int KvHead, int QueryRow, int QueryRows, int Rows, KeyRange Keys);

    // What one row sees: of the sequence, and of the block at hand, from Low to High but for a gap after the sinks.
    private struct RowKeys
    {
        public KeyRange Range;
        public int Low, High, GapLow, GapHigh;
        public bool IsPartial;
        public fixed ulong Seen[SeenWords]; // the keys of the block with a score above −∞, when IsPartial

        public void Clip(long key0, int count)
        {
            int sink = (int)Math.Clamp(Range.SinkEnd - key0, 0, count);
            int first = (int)Math.Clamp(Range.First - key0, 0, count), end = (int)Math.Clamp(Range.End - key0, 0, count);
            (GapLow, GapHigh, IsPartial) = (0, 0, false);
            if (first >= end)
                (Low, High) = (0, sink);
            else if (sink == 0)
                (Low, High) = (first, end);
            else
                (Low, High, GapLow, GapHigh) = (0, end, sink, first);
        }

        public readonly bool SeesAlike(in RowKeys other)
        {
            bool isAlike = Low == other.Low && High == other.High;
            for (int word = 0; word < SeenWords; word++)
                isAlike &= Seen[word] == other.Seen[word];
            return isAlike;
        }
    }

    // The units, and where buffers lie in the workspace, in bytes.
    private readonly struct Plan
    {
        public readonly int QueryRows, Chunks, Rows, QueryWidth, ValueWidth;
        public readonly long Units, StateFloats, ThreadBegin, ThreadBytes, Bytes;
        public readonly long QueryOffset, ScoreOffset, KeyOffset, RowOffset, TransformOffset;

        public Plan(in AttentionProblem problem, int threads)
        {
            int group = problem.GroupSize;
            QueryRows = Math.Clamp(MaxRows / Math.Max(1, group), 1, Math.Max(1, problem.QueryLength));
            Chunks = (int)(((long)problem.QueryLength + QueryRows - 1) / QueryRows);
            Units = (long)problem.NumSequences * problem.NumKvHeads * Chunks;
            Rows = checked(QueryRows * group + 3) / 4 * 4;
            QueryWidth = Rows<TSimd, TVector>.Padded(problem.HeadDim);
            ValueWidth = Rows<TSimd, TVector>.Padded(problem.ValueHeadDim);
            StateFloats = (long)Rows * (ValueWidth + 2);
            QueryOffset = Aligned(2 * StateFloats * sizeof(float));
            ScoreOffset = QueryOffset + Aligned((long)Rows * QueryWidth * sizeof(float));
            KeyOffset = ScoreOffset + Aligned((Rows + 6L) * ScoreStride * sizeof(float));
            RowOffset = KeyOffset + (3 * BlockN + Ahead + 4) * sizeof(byte*);
            TransformOffset = RowOffset + Aligned((long)Rows * sizeof(RowKeys));
            ThreadBytes = TransformOffset + Aligned((long)group * sizeof(ScoreTransform<TSimd, TVector>));
            ThreadBegin = Aligned((threads + 1L) * sizeof(Cut));
            Bytes = checked(ThreadBegin + threads * ThreadBytes);
        }

        private static long Aligned(long bytes) => checked(bytes + 63) / 64 * 64;
    }

    // A thread's buffers.
    private readonly struct Scratch(in Plan plan, byte* thread)
    {
        public readonly float* States = (float*)thread;
        public readonly float* Queries = (float*)(thread + plan.QueryOffset);
        public readonly float* Scores = (float*)(thread + plan.ScoreOffset);
        public readonly float* SeenScores = (float*)(thread + plan.ScoreOffset) + (long)plan.Rows * ScoreStride;
        public readonly float* KeyScales = (float*)(thread + plan.ScoreOffset) + (plan.Rows + 4L) * ScoreStride;
        public readonly float* ValueScales = (float*)(thread + plan.ScoreOffset) + (plan.Rows + 5L) * ScoreStride;
        public readonly byte** SeenValues = (byte**)(thread + plan.KeyOffset);
        public readonly byte** Keys = (byte**)(thread + plan.KeyOffset) + BlockN; // and after them what is read next: see ListRows
        public readonly RowKeys* Rows = (RowKeys*)(thread + plan.RowOffset);
        public readonly ScoreTransform<TSimd, TVector>* Transforms = (ScoreTransform<TSimd, TVector>*)(thread + plan.TransformOffset);
    }

    private struct Body : IParallelBody
    {
        public AttentionCall* Call;
        public Plan Plan;
        public byte* Workspace;
        public float* AllScores; // [sequences, heads, rows, ScoreRowStride] where weights are summed, else null

        private readonly Cut* Cuts => (Cut*)Workspace;

        private readonly ref AttentionProblem Problem => ref Unsafe.AsRef(in Call->Problem);

        // Row r of a unit is query row QueryRow + r div groupSize of the group's head r mod groupSize.
        private readonly int HeadOf(in Unit unit, int row) => unit.KvHead * Problem.GroupSize + row % Problem.GroupSize;

        private readonly int QueryOf(in Unit unit, int row) => unit.QueryRow + row / Problem.GroupSize;

        public readonly Unit GetUnit(long index)
        {
            (long head, long chunk) = Math.DivRem(index, Plan.Chunks);
            int kvHead = (int)(head % Problem.NumKvHeads);
            AttentionSequence sequence = Call->GetSequence((int)(head / Problem.NumKvHeads), kvHead);
            int first = (int)chunk * Plan.QueryRows, rows = Math.Clamp(sequence.QueryLength - first, 0, Plan.QueryRows);
            KeyRange keys = rows == 0 ? default : FindKeys(sequence, kvHead, first, rows);
            return new Unit(sequence, kvHead, first, rows, rows * Problem.GroupSize, keys);
        }

        // The keys that any row of a unit sees: those of its last row but for windows, whose first differs from row to row.
        private readonly KeyRange FindKeys(in AttentionSequence sequence, int kvHead, int firstRow, int rows)
        {
            int head = kvHead * Problem.GroupSize;
            if (!Problem.HasWindow)
                return Call->GetRange(sequence, head, firstRow + rows - 1);
            int heads = Problem.Has(AttentionOperands.HeadWindows) ? Problem.GroupSize : 1;
            int sinkEnd = 0, first = int.MaxValue, end = 0;
            for (int h = head; h < head + heads; h++)
            {
                for (int row = firstRow; row < firstRow + rows; row++)
                {
                    KeyRange range = Call->GetRange(sequence, h, row);
                    if (range.First == 0 || range.First >= range.End)
                    {
                        sinkEnd = Math.Max(sinkEnd, Math.Max(range.SinkEnd, range.First == 0 ? range.End : 0));
                        continue;
                    }
                    (sinkEnd, first, end) = (Math.Max(sinkEnd, range.SinkEnd), Math.Min(first, range.First), Math.Max(end, range.End));
                }
            }
            return first <= sinkEnd || end <= sinkEnd ? new KeyRange(0, 0, Math.Max(sinkEnd, end)) : new KeyRange(sinkEnd, first, end);
        }

        // Cuts the line of all units' keys evenly over the threads and returns how many shares there are: one when sharing
        // does not pay. A cut near the end of a unit moves there.
        public readonly int CutEvenly(int threads)
        {
            bool isEven = Problem.RaggedSequences == 0 && Plan.Chunks == 1 && !Problem.Has(AttentionOperands.KvLengths | AttentionOperands.HeadWindows);
            Unit unit = GetUnit(0);
            long weight = Weight(unit), total = isEven ? weight * Plan.Units : 0;
            for (long i = 0; !isEven && i < Plan.Units; i++)
                total += Weight(GetUnit(i));
            double bytes = (double)total * (Problem.HeadDim + Problem.ValueHeadDim) * Problem.KvType.SizeInBytes();
            int shares = bytes < MinBytesToShare ? 1 : threads;
            Cuts[0] = default;
            long index = 0, before = 0;
            for (int i = 1; i < shares; i++)
            {
                long target = (long)((Int128)total * i / shares);
                if (isEven)
                {
                    index = target / weight;
                    before = index * weight;
                }
                while (!isEven && before + weight <= target)
                {
                    before += weight;
                    unit = GetUnit(++index);
                    weight = Weight(unit);
                }
                long key = (target - before) / Quads(unit);
                Cuts[i] = key < MinKeysPerSplit ? new Cut(index, 0)
                    : unit.Keys.Count - key < MinKeysPerSplit ? new Cut(index + 1, 0)
                    : new Cut(index, key);
            }
            Cuts[shares] = new Cut(Plan.Units, 0);
            return shares;
        }

        private static int Quads(in Unit unit) => (unit.Rows + 3) / 4;

        private static long Weight(in Unit unit) => (unit.Keys.Count + (long)KeysPerUnit) * Quads(unit);

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
                (long first, long last) = Partition.Range(unit.Rows, worker, workers);
                float* target = State(thread, 1);
                for (int part = thread + 1; part < workers && Cuts[part].Unit == end.Unit && Cuts[part].Key > 0; part++)
                {
                    for (long row = first; row < last && Cuts[part] != Cuts[part + 1]; row++)
                        AddState(target, State(part, 0), row);
                }
                for (long row = first; row < last; row++)
                    Write(unit, (int)row, target);
            }
        }

        private readonly byte* Thread(int thread) => Workspace + Plan.ThreadBegin + thread * Plan.ThreadBytes;

        // A state: sums [rows, valueWidth], maxima [rows], totals [rows].
        private readonly float* State(int thread, int number) => (float*)Thread(thread) + number * Plan.StateFloats;

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

        public void Execute(int worker, int workers)
        {
            switch (Problem.KvType)
            {
                case DataType.Float32:
                    RunShare<Float32Source<TSimd, TVector>, Float32Source<TSimd, TVector>>(worker);
                    break;
                case DataType.Float16:
                    RunShare<FiniteFloat16Source<TSimd, TVector>, Float16Source<TSimd, TVector>>(worker);
                    break;
                case DataType.Int8:
                    RunShare<Int8Source<TSimd, TVector>, Int8Source<TSimd, TVector>>(worker);
                    break;
                default:
                    RunShare<BFloat16Source<TSimd, TVector>, BFloat16Source<TSimd, TVector>>(worker);
                    break;
            }
        }

        private readonly void RunShare<TSource, TCareful>(int thread)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            Cut begin = Cuts[thread], end = Cuts[thread + 1];
            var scratch = new Scratch(Plan, Thread(thread));
            for (long index = begin.Unit; index < end.Unit; index++)
                RunUnit<TSource, TCareful>(GetUnit(index), index == begin.Unit ? begin.Key : 0, long.MaxValue, scratch);
            long first = begin.Unit == end.Unit ? begin.Key : 0;
            if (first < end.Key)
                RunUnit<TSource, TCareful>(GetUnit(end.Unit), first, end.Key, scratch);
        }

        // Streams the keys `begin` .. `end` − 1 of those that the unit's rows see.
        private readonly void RunUnit<TSource, TCareful>(in Unit unit, long begin, long end, in Scratch scratch)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            if (unit.Rows == 0)
                return;
            float* state = scratch.States + (begin > 0 ? 0 : Plan.StateFloats);
            Start(unit, state, scratch);
            KeyRange keys = unit.Keys;
            end = Math.Min(end, keys.Count);
            Stream<TSource, TCareful>(unit, begin, Math.Min(end, keys.SinkEnd), state, scratch);
            long shift = keys.First - keys.SinkEnd;
            Stream<TSource, TCareful>(unit, Math.Max(begin, keys.SinkEnd) + shift, end + shift, state, scratch);
            for (int row = 0; begin == 0 && end == keys.Count && row < unit.Rows; row++)
                Write(unit, row, state);
        }

        // Loads the query rows and empties the state. A whole number of vectors covers a query row: the last one lies over
        // the last elements of a key, and is 0 where the one before has been already.
        private readonly void Start(in Unit unit, float* state, in Scratch scratch)
        {
            int size = Problem.HeadDim, rest = size % TSimd.Width;
            new Span<float>(scratch.Queries, Plan.Rows * Plan.QueryWidth).Clear();
            for (int row = 0; row < unit.Rows; row++)
            {
                float* q = scratch.Queries + (long)row * Plan.QueryWidth;
                AttentionRow<TSimd, TVector>.LoadQuery(
                    Call->QueryRow(unit.Sequence, HeadOf(unit, row), QueryOf(unit, row)), Call->Query.Type, Problem, q);
                if (size >= TSimd.Width && rest > 0)
                {
                    var last = new Span<float>(q + size - rest, TSimd.Width);
                    last[..rest].CopyTo(last[^rest..]);
                    last[..Math.Min(rest, TSimd.Width - rest)].Clear();
                }
                scratch.Rows[row].Range = Call->GetRange(unit.Sequence, HeadOf(unit, row), QueryOf(unit, row));
            }
            for (int h = 0; Problem.HasScoreTransform && h < Problem.GroupSize; h++)
                scratch.Transforms[h] = new ScoreTransform<TSimd, TVector>(*Call, unit.Sequence, HeadOf(unit, h));
            float* maxima = state + (long)Plan.Rows * Plan.ValueWidth;
            new Span<float>(state, checked((int)Plan.StateFloats)).Clear();
            new Span<float>(maxima, Plan.Rows).Fill(float.NegativeInfinity);
        }

        private readonly void Stream<TSource, TCareful>(in Unit unit, long firstKey, long lastKey, float* state, in Scratch scratch)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            int maskBlock = Problem.MaskBlock;
            for (long key0 = firstKey; key0 < lastKey;)
            {
                int count = (int)Math.Min(BlockN, lastKey - key0);
                if (maskBlock >= BlockN / 8) // a block of keys lies in one block of the mask, which may hide it
                    count = (int)Math.Min(count, maskBlock - key0 % maskBlock);
                if (FindSeen(unit, (int)key0, count, scratch))
                {
                    byte** values = ListRows(unit, (int)key0, count, (int)Math.Min(Ahead, lastKey - key0 - count), scratch);
                    for (int row = 0; row < unit.Rows; row += 4)
                        ScoreQuad<TSource, TCareful>(unit, (int)key0, row, Math.Min(4, unit.Rows - row), state, scratch);
                    for (int row = 0; row < unit.Rows; row += 4)
                        AddQuad<TSource, TCareful>(row, Math.Min(4, unit.Rows - row), values, state, scratch);
                }
                key0 += count;
            }
        }

        // Which keys of the block each row sees; false when none sees any.
        private readonly bool FindSeen(in Unit unit, int key0, int count, in Scratch scratch)
        {
            bool hasMask = Call->Mask.IsPresent || Call->BlockMask.IsPresent, isSeen = false;
            for (int row = 0; row < unit.Rows; row++)
            {
                ref RowKeys keys = ref scratch.Rows[row];
                keys.Clip(key0, count);
                if (keys.Low >= keys.High)
                    continue;
                if (hasMask && scratch.Transforms[row % Problem.GroupSize].HidesAll(QueryOf(unit, row), 1, key0 + keys.Low, keys.High - keys.Low))
                    keys.High = keys.Low;
                else
                    isSeen = true;
            }
            return isSeen;
        }

        // The addresses of the block's keys and values and of the next keys, a run of rows that lie evenly in memory at a time,
        // and their scales. They are one list in the order in which memory is read, so that what is `Ahead` of a row in the
        // list can be asked for; where the keys end, the last value stands for what comes next. Returns where the values begin.
        private readonly byte** ListRows(in Unit unit, int key0, int count, int next, in Scratch scratch)
        {
            byte** values = scratch.Keys + count;
            bool hasScales = Problem.KvType == DataType.Int8;
            int size = Problem.KvType.SizeInBytes();
            long keyStride = Call->Key.Layout.Stride(1) * size, valueStride = Call->Value.Layout.Stride(1) * size;
            for (int j = 0; j < count;)
            {
                int run = Math.Min(Call->RunLength(unit.Sequence, key0 + j), count - j);
                List(Call->KeyRow(unit.Sequence, unit.KvHead, key0 + j), keyStride, run, scratch.Keys + j);
                List(Call->ValueRow(unit.Sequence, unit.KvHead, key0 + j), valueStride, run, values + j);
                if (hasScales)
                {
                    new Span<float>(Call->KeyScales(unit.Sequence, unit.KvHead, key0 + j), run).CopyTo(new Span<float>(scratch.KeyScales + j, run));
                    new Span<float>(Call->ValueScales(unit.Sequence, unit.KvHead, key0 + j), run).CopyTo(new Span<float>(scratch.ValueScales + j, run));
                }
                j += run;
            }
            for (int j = count; j < count + next;)
            {
                int run = Math.Min(Call->RunLength(unit.Sequence, key0 + j), count + next - j);
                List(Call->KeyRow(unit.Sequence, unit.KvHead, key0 + j), keyStride, run, values + j);
                j += run;
            }
            List(values[count - 1], 0, Ahead + 4 - next, values + count + next);
            return values;
        }

        private static void List(byte* first, long stride, int count, byte** target)
        {
            int j = 0;
            if (count >= 4)
            {
                Vector256<long> rows = Vector256.Create((long)first) + Vector256.Create(0, stride, 2 * stride, 3 * stride);
                Vector256<long> step = Vector256.Create(4 * stride);
                for (; j <= count - 4; j += 4, rows += step)
                    rows.Store((long*)(target + j));
            }
            for (; j < count; j++)
                target[j] = first + j * stride;
        }

        // Scores of up to four rows, and their softmax: afterwards the scores are weights of the values.
        private readonly void ScoreQuad<TSource, TCareful>(in Unit unit, int key0, int row0, int rows, float* state, in Scratch scratch)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            int low = BlockN, high = 0;
            for (int row = row0; row < row0 + rows; row++)
            {
                ref RowKeys keys = ref scratch.Rows[row];
                if (keys.Low < keys.High)
                    (low, high) = (Math.Min(low, keys.Low), Math.Max(high, keys.High));
            }
            if (low >= high)
                return;
            float* scores = scratch.Scores + (long)row0 * ScoreStride;
            Score<TSource, TCareful>(
                scratch.Queries + (long)row0 * Plan.QueryWidth, rows, scratch.Keys + low, high - low, Problem.HeadDim, Plan.QueryWidth,
                asks: row0 == 0, scores + low);
            bool hasScales = Problem.KvType == DataType.Int8, hasTransform = Problem.HasScoreTransform;
            bool mayHide = Problem.BiasShape != 0 || Problem.MaskShape != 0 || Problem.MaskBlock > 0 || Problem.Has(AttentionOperands.SlotBias);
            float* maxima = state + (long)Plan.Rows * Plan.ValueWidth, totals = maxima + Plan.Rows;
            for (int row = row0; row < row0 + rows; row++, scores += ScoreStride)
            {
                ref RowKeys keys = ref scratch.Rows[row];
                if (keys.Low >= keys.High)
                    continue;
                if (hasScales)
                    Multiply(scores, scratch.KeyScales, keys.High);
                if (hasTransform)
                    scratch.Transforms[row % Problem.GroupSize].Apply(QueryOf(unit, row), key0, keys.High, scores);
                if (keys.GapLow < keys.GapHigh)
                    new Span<float>(scores + keys.GapLow, keys.GapHigh - keys.GapLow).Fill(float.NegativeInfinity);
                if (AllScores != null)
                {
                    float* all = ScoreRow(unit.Sequence.Index, HeadOf(unit, row), QueryOf(unit, row)) + key0 + keys.Low;
                    new Span<float>(scores + keys.Low, keys.High - keys.Low).CopyTo(new Span<float>(all, keys.High - keys.Low));
                }
                if (mayHide || keys.GapLow < keys.GapHigh)
                    FindHidden(scores, ref keys);
                if (keys.Low >= keys.High)
                    continue;
                AttentionRow<TSimd, TVector>.Update(
                    scores + keys.Low, keys.High - keys.Low, ref maxima[row], ref totals[row], state + (long)row * Plan.ValueWidth, Plan.ValueWidth);
                if (hasScales)
                    Multiply(scores, scratch.ValueScales, keys.High);
            }
        }

        private readonly float* ScoreRow(int sequence, int head, int query) =>
            AllScores + (((long)sequence * Problem.NumHeads + head) * Problem.QueryLength + query) * ScoreRowStride(Problem);

        // The weights of some keys of a head, summed over the rows: 2^(s − lse) of the scores that were kept.
        public readonly void SumWeights(int index, int head, int key0, int count, float* sums)
        {
            AttentionSequence sequence = Call->GetSequence(index, head / Problem.GroupSize);
            int keys = Math.Clamp(sequence.KvLength - key0, 0, count);
            new Span<float>(sums, count).Clear();
            for (int query = 0; query < Problem.QueryLength; query++)
            {
                float lse = *(float*)Call->Lse.Address(sequence.Batch, head, query);
                if (lse != float.NegativeInfinity)
                    AttentionRow<TSimd, TVector>.ToWeights(ScoreRow(index, head, query) + key0, keys, lse * Log2E, sums);
            }
        }

        // Notes which keys have a score above −∞: the values of the others, which may be NaN, must not be touched.
        private static void FindHidden(float* scores, ref RowKeys keys)
        {
            TVector hidden = TSimd.Broadcast(float.NegativeInfinity);
            int count = 0;
            for (int word = 0; word < SeenWords; word++)
            {
                ulong seen = 0, lanes = (1ul << TSimd.Width) - 1;
                for (int j = 0; j < 64; j += TSimd.Width)
                    seen |= (~TSimd.EqualMask(TSimd.Load(scores + 64 * word + j), hidden) & lanes) << j;
                seen &= Between(keys.Low - 64 * word, keys.High - 64 * word);
                count += BitOperations.PopCount(seen);
                keys.Seen[word] = seen;
            }
            keys.IsPartial = count < keys.High - keys.Low;
            if (count == 0)
                keys.High = keys.Low;
        }

        // Bits low .. high − 1, of those from 0 to 63.
        private static ulong Between(int low, int high) => Below(high) & ~Below(low);

        private static ulong Below(int bit) => bit <= 0 ? 0 : bit >= 64 ? ulong.MaxValue : (1ul << bit) - 1;

        private static void Multiply(float* row, float* factors, int count)
        {
            for (int j = 0; j < count; j += TSimd.Width)
                TSimd.Store(TSimd.Multiply(TSimd.Load(row + j), TSimd.Load(factors + j)), row + j);
        }

        // Adds the weighted values of the block to the sums of up to four rows. Rows share a pass over the values that all of
        // them see; a value that a row does not see, which may be NaN, is never touched for it.
        private readonly void AddQuad<TSource, TCareful>(int row0, int rows, byte** values, float* state, in Scratch scratch)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            RowKeys* keys = scratch.Rows + row0;
            float* weights = scratch.Scores + (long)row0 * ScoreStride, sums = state + (long)row0 * Plan.ValueWidth;
            int low = 0, high = BlockN;
            bool isPartial = false, isAlike = true;
            for (int i = 0; i < rows; i++)
            {
                (low, high) = (Math.Max(low, keys[i].Low), Math.Min(high, keys[i].High));
                isPartial |= keys[i].IsPartial;
                isAlike &= keys[i].IsPartial && keys[i].SeesAlike(keys[0]);
            }
            if (isPartial && isAlike)
            {
                if (keys->Low < keys->High)
                    AddSeen<TSource, TCareful>(keys[0], weights, rows, values, sums, scratch);
                return;
            }
            if (isPartial || low >= high)
                low = high = 0;
            else
                AddValues<TSource, TCareful>(weights + low, rows, values + low, high - low, asks: row0 == 0, sums);
            for (int i = 0; i < rows; i++, weights += ScoreStride, sums += Plan.ValueWidth)
            {
                if (keys[i].Low >= keys[i].High)
                    continue;
                if (keys[i].IsPartial)
                {
                    AddSeen<TSource, TCareful>(keys[i], weights, 1, values, sums, scratch);
                    continue;
                }
                int before = low < high ? low : keys[i].High;
                AddValues<TSource, TCareful>(weights + keys[i].Low, 1, values + keys[i].Low, before - keys[i].Low, asks: false, sums);
                if (low < high)
                    AddValues<TSource, TCareful>(weights + high, 1, values + high, keys[i].High - high, asks: false, sums);
            }
        }

        // As AddValues, of the keys of the block that are not hidden, drawn together.
        private readonly void AddSeen<TSource, TCareful>(
            in RowKeys keys, float* weights, int rows, byte** values, float* sums, in Scratch scratch)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            int count = 0;
            for (int word = 0; word < SeenWords; word++)
            {
                for (ulong seen = keys.Seen[word]; seen != 0; seen &= seen - 1, count++)
                {
                    int j = 64 * word + BitOperations.TrailingZeroCount(seen);
                    scratch.SeenValues[count] = values[j];
                    for (int i = 0; i < rows; i++)
                        scratch.SeenScores[i * ScoreStride + count] = weights[i * ScoreStride + j];
                }
            }
            AddValues<TSource, TCareful>(scratch.SeenScores, rows, scratch.SeenValues, count, asks: false, sums);
        }

        // sums[r] += Σ_j weights[r, j] · v_j, some rows of values after another: memory is read in order, and of rows that are
        // longer than what the registers hold sums for, the other columns come from the first-level cache. `asks` for what is
        // ahead in the list, each column for itself, which spreads the asking: the first to read the block does.
        private readonly void AddValues<TSource, TCareful>(float* weights, int rows, byte** values, int count, bool asks, float* sums)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            if (Problem.ValueHeadDim < TSimd.Width)
            {
                AddNarrow<TCareful>(weights, rows, values, count, Problem.ValueHeadDim, sums, Plan.ValueWidth);
                return;
            }
            for (; count > 0; count -= StepRows, weights += StepRows, values += StepRows)
                AddStep<TSource, TCareful>(weights, rows, values, Math.Min(count, StepRows), asks, sums);
        }

        private readonly void AddStep<TSource, TCareful>(float* weights, int rows, byte** values, int count, bool asks, float* sums)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            int w = TSimd.Width, size = Problem.ValueHeadDim, width = Plan.ValueWidth;
            int column = 0;
            if (rows <= 2)
            {
                for (; column <= size - 8 * w; column += 8 * w)
                    AddRows<TSource, TCareful, Counts.Eight>(weights, rows, values, count, column, asks, sums + column, width);
            }
            for (; column <= size - 4 * w; column += 4 * w)
                AddRows<TSource, TCareful, Counts.Four>(weights, rows, values, count, column, asks, sums + column, width);
            for (; column < size; column += w)
                AddRows<TSource, TCareful, Counts.One>(weights, rows, values, count, Math.Min(column, size - w), asks, sums + column, width);
        }

        private static void AddRows<TSource, TCareful, TCount>(
            float* weights, int rows, byte** values, int count, long column, bool asks, float* sums, int width)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
            where TCount : struct, ICount
        {
            if (!AddColumns<TSource, TCount>(weights, rows, values, count, column, asks, sums, width))
                AddColumns<TCareful, TCount>(weights, rows, values, count, column, asks, sums, width);
        }

        // The fourth row may be one that does not exist: its weights and sums are no one's.
        private static bool AddColumns<TSource, TCount>(
            float* weights, int rows, byte** values, int count, long column, bool asks, float* sums, int width)
            where TSource : struct, ISource<TVector>
            where TCount : struct, ICount => rows switch
            {
                1 => AddTwo<TSource, Counts.One, TCount>(weights, values, count, column, asks, sums, width),
                2 => AddTwo<TSource, Counts.Two, TCount>(weights, values, count, column, asks, sums, width),
                _ => AddFour<TSource, TCount>(weights, values, count, column, asks, sums, width),
            };

        // Values shorter than a vector.
        private static void AddNarrow<TSource>(float* weights, int rows, byte** values, int count, int size, float* sums, int width)
            where TSource : struct, ISource<TVector>
        {
            for (int r = 0; r < rows; r++)
            {
                for (int j = 0; j < count; j++)
                {
                    for (int c = 0; c < size; c++)
                        sums[r * width + c] += weights[r * ScoreStride + j] * TSource.LoadOne(values[j], c);
                }
            }
        }

        // scores[r, j] = q_r · k_j. A quad of three is done as one of four: the fourth query row is 0.
        private static void Score<TSource, TCareful>(
            float* q, int rows, byte** keys, int count, int size, int width, bool asks, float* scores)
            where TSource : struct, ISource<TVector>
            where TCareful : struct, ISource<TVector>
        {
            if (size < TSimd.Width)
                ScoreNarrow<TCareful>(q, rows, keys, count, size, width, scores);
            else if (!ScoreRows<TSource>(q, rows, keys, count, size, width, asks ? size * TSource.Size : 0, scores))
                ScoreRows<TCareful>(q, rows, keys, count, size, width, 0, scores);
        }

        private static bool ScoreRows<TSource>(
            float* q, int rows, byte** keys, int count, int size, int width, int bytesAhead, float* scores)
            where TSource : struct, ISource<TVector> => rows switch
            {
                1 => ScoreOne<TSource>(q, keys, count, size, width, bytesAhead, scores),
                2 => ScoreTwo<TSource>(q, keys, count, size, width, bytesAhead, scores),
                _ => ScoreFour<TSource>(q, keys, count, size, width, bytesAhead, scores),
            };

        // Asks for a row that will be read, line after line: memory is fastest in its order.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Ask(byte* row, int bytes)
        {
            for (int at = 0; at < bytes; at += 64)
                Vectors.PrefetchFar(row + at);
        }

        // Two keys at a time halve the loads of queries.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool ScoreFour<TSource>(float* q, byte** keys, int count, int size, int width, int bytesAhead, float* scores)
            where TSource : struct, ISource<TVector>
        {
            int w = TSimd.Width;
            long last = size - w;
            float* q1 = q + width, q2 = q1 + width, q3 = q2 + width;
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j += 2)
            {
                byte* k = keys[j], l = keys[Math.Min(j + 1, count - 1)];
                Ask(keys[j + Ahead], bytesAhead);
                Ask(keys[j + Ahead + 1], bytesAhead);
                TVector s0 = TSimd.Zero, s1 = TSimd.Zero, s2 = TSimd.Zero, s3 = TSimd.Zero;
                TVector t0 = TSimd.Zero, t1 = TSimd.Zero, t2 = TSimd.Zero, t3 = TSimd.Zero;
                for (long c = 0; c < width; c += w)
                {
                    long at = Smaller(c, last);
                    TVector a = Load<TSource>(k, at, ref seen), b = Load<TSource>(l, at, ref seen), x = TSimd.Load(q + c);
                    s0 = TSimd.MultiplyAdd(x, a, s0);
                    t0 = TSimd.MultiplyAdd(x, b, t0);
                    x = TSimd.Load(q1 + c);
                    s1 = TSimd.MultiplyAdd(x, a, s1);
                    t1 = TSimd.MultiplyAdd(x, b, t1);
                    x = TSimd.Load(q2 + c);
                    s2 = TSimd.MultiplyAdd(x, a, s2);
                    t2 = TSimd.MultiplyAdd(x, b, t2);
                    x = TSimd.Load(q3 + c);
                    s3 = TSimd.MultiplyAdd(x, a, s3);
                    t3 = TSimd.MultiplyAdd(x, b, t3);
                }
                TSimd.StoreSums(s0, s1, s2, s3, t0, t1, t2, t3, scores + j, ScoreStride);
            }
            return TSource.IsTrusted(seen);
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool ScoreTwo<TSource>(float* q, byte** keys, int count, int size, int width, int bytesAhead, float* scores)
            where TSource : struct, ISource<TVector>
        {
            int w = TSimd.Width;
            long last = size - w;
            float* q1 = q + width;
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j += 2)
            {
                byte* k = keys[j], l = keys[Math.Min(j + 1, count - 1)];
                Ask(keys[j + Ahead], bytesAhead);
                Ask(keys[j + Ahead + 1], bytesAhead);
                TVector s0 = TSimd.Zero, s1 = TSimd.Zero, t0 = TSimd.Zero, t1 = TSimd.Zero;
                for (long c = 0; c < width; c += w)
                {
                    long at = Smaller(c, last);
                    TVector a = Load<TSource>(k, at, ref seen), b = Load<TSource>(l, at, ref seen), x = TSimd.Load(q + c);
                    s0 = TSimd.MultiplyAdd(x, a, s0);
                    t0 = TSimd.MultiplyAdd(x, b, t0);
                    x = TSimd.Load(q1 + c);
                    s1 = TSimd.MultiplyAdd(x, a, s1);
                    t1 = TSimd.MultiplyAdd(x, b, t1);
                }
                StorePairs(TSimd.SumFour(s0, t0, s1, t1), scores + j);
            }
            return TSource.IsTrusted(seen);
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool ScoreOne<TSource>(float* q, byte** keys, int count, int size, int width, int bytesAhead, float* scores)
            where TSource : struct, ISource<TVector>
        {
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j += 4)
            {
                for (int i = 0; i < 4; i++)
                    Ask(keys[j + Ahead + i], bytesAhead);
                TVector s0 = Dot<TSource>(q, keys[j], size, width, ref seen);
                TVector s1 = Dot<TSource>(q, keys[Math.Min(j + 1, count - 1)], size, width, ref seen);
                TVector s2 = Dot<TSource>(q, keys[Math.Min(j + 2, count - 1)], size, width, ref seen);
                TVector s3 = Dot<TSource>(q, keys[Math.Min(j + 3, count - 1)], size, width, ref seen);
                TSimd.SumFour(s0, s1, s2, s3).Store(scores + j);
            }
            return TSource.IsTrusted(seen);
        }

        // Lanes of q · k. One chain of sums a key: those of the keys around it fill the waits.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector Dot<TSource>(float* q, byte* key, int size, int width, ref TVector seen)
            where TSource : struct, ISource<TVector>
        {
            long last = size - TSimd.Width;
            TVector sum = TSimd.Zero;
            for (long c = 0; c < width; c += TSimd.Width)
            {
                long at = Smaller(c, last);
                sum = TSimd.MultiplyAdd(TSimd.Load(q + c), Load<TSource>(key, at, ref seen), sum);
            }
            return sum;
        }

        // Keys shorter than a vector.
        private static void ScoreNarrow<TSource>(float* q, int rows, byte** keys, int count, int size, int width, float* scores)
            where TSource : struct, ISource<TVector>
        {
            for (int r = 0; r < rows; r++)
            {
                for (int j = 0; j < count; j++)
                {
                    float sum = 0f;
                    for (int c = 0; c < size; c++)
                        sum += q[r * width + c] * TSource.LoadOne(keys[j], c);
                    scores[r * ScoreStride + j] = sum;
                }
            }
        }

        // Math.Min compiles to two jumps in each round.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static long Smaller(long a, long b) => b + ((a - b) & ((a - b) >> 63));

        // The lower two lanes to one row of scores, the upper two to the next.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void StorePairs(Vector128<float> pairs, float* scores)
        {
            *(double*)scores = pairs.AsDouble().ToScalar();
            *(double*)(scores + ScoreStride) = pairs.AsDouble().GetElement(1);
        }

        // One or two rows; up to eight vectors of each stay in registers.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool AddTwo<TSource, TRowCount, TCount>(
            float* p, byte** rows, int count, long column, bool asks, float* sums, int width)
            where TSource : struct, ISource<TVector>
            where TRowCount : struct, ICount
            where TCount : struct, ICount
        {
            int w = TSimd.Width, bytesAhead = asks ? TCount.Value * w * TSource.Size : 0;
            float* o = sums;
            float* o1 = TRowCount.Value > 1 ? o + width : o;
            TVector a0 = TSimd.Load(o), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
            TVector b0 = TSimd.Load(o1), b1 = b0, b2 = b0, b3 = b0, b4 = b0, b5 = b0, b6 = b0, b7 = b0;
            if (TCount.Value > 1)
            {
                (a1, a2, a3) = (TSimd.Load(o + w), TSimd.Load(o + 2 * w), TSimd.Load(o + 3 * w));
                (b1, b2, b3) = (TSimd.Load(o1 + w), TSimd.Load(o1 + 2 * w), TSimd.Load(o1 + 3 * w));
            }
            if (TCount.Value > 4)
            {
                (a4, a5, a6, a7) = (TSimd.Load(o + 4 * w), TSimd.Load(o + 5 * w), TSimd.Load(o + 6 * w), TSimd.Load(o + 7 * w));
                (b4, b5, b6, b7) = (TSimd.Load(o1 + 4 * w), TSimd.Load(o1 + 5 * w), TSimd.Load(o1 + 6 * w), TSimd.Load(o1 + 7 * w));
            }
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j++)
            {
                byte* values = rows[j];
                Ask(rows[j + Ahead] + column * TSource.Size, bytesAhead);
                TVector x = TSimd.Broadcast(p[j]), y = x;
                if (TRowCount.Value > 1) y = TSimd.Broadcast(p[ScoreStride + j]);
                TVector v = Load<TSource>(values, column, ref seen);
                AddTo<TRowCount>(x, y, v, ref a0, ref b0);
                if (TCount.Value > 1)
                {
                    v = Load<TSource>(values, column + w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a1, ref b1);
                    v = Load<TSource>(values, column + 2 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a2, ref b2);
                    v = Load<TSource>(values, column + 3 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a3, ref b3);
                }
                if (TCount.Value > 4)
                {
                    v = Load<TSource>(values, column + 4 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a4, ref b4);
                    v = Load<TSource>(values, column + 5 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a5, ref b5);
                    v = Load<TSource>(values, column + 6 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a6, ref b6);
                    v = Load<TSource>(values, column + 7 * w, ref seen);
                    AddTo<TRowCount>(x, y, v, ref a7, ref b7);
                }
            }
            if (!TSource.IsTrusted(seen))
                return false;
            StoreFour<TCount>(o, a0, a1, a2, a3);
            if (TCount.Value > 4)
                StoreFour<TCount>(o + 4 * w, a4, a5, a6, a7);
            if (TRowCount.Value > 1)
                StoreFour<TCount>(o1, b0, b1, b2, b3);
            if (TRowCount.Value > 1 && TCount.Value > 4)
                StoreFour<TCount>(o1 + 4 * w, b4, b5, b6, b7);
            return true;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector Load<TSource>(byte* row, long index, ref TVector seen) where TSource : struct, ISource<TVector>
        {
            TVector loaded = TSource.Load(row, index);
            seen = TSource.Watch(seen, loaded);
            return loaded;
        }

        // Adds v times each row's weight to that row's sum.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void AddTo<TRowCount>(TVector x, TVector y, TVector v, ref TVector a, ref TVector b) where TRowCount : struct, ICount
        {
            a = TSimd.MultiplyAdd(x, v, a);
            if (TRowCount.Value > 1) b = TSimd.MultiplyAdd(y, v, b);
        }

        // Four rows; one or four vectors of each stay in registers.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static bool AddFour<TSource, TCount>(float* p, byte** rows, int count, long column, bool asks, float* sums, int width)
            where TSource : struct, ISource<TVector>
            where TCount : struct, ICount
        {
            int w = TSimd.Width, bytesAhead = asks ? TCount.Value * w * TSource.Size : 0;
            float* o = sums, o1 = o + width, o2 = o1 + width, o3 = o2 + width;
            float* p1 = p + ScoreStride, p2 = p1 + ScoreStride, p3 = p2 + ScoreStride;
            TVector a0 = TSimd.Load(o), a1 = a0, a2 = a0, a3 = a0, b0 = TSimd.Load(o1), b1 = b0, b2 = b0, b3 = b0;
            TVector c0 = TSimd.Load(o2), c1 = c0, c2 = c0, c3 = c0, d0 = TSimd.Load(o3), d1 = d0, d2 = d0, d3 = d0;
            if (TCount.Value > 1)
            {
                (a1, a2, a3) = (TSimd.Load(o + w), TSimd.Load(o + 2 * w), TSimd.Load(o + 3 * w));
                (b1, b2, b3) = (TSimd.Load(o1 + w), TSimd.Load(o1 + 2 * w), TSimd.Load(o1 + 3 * w));
                (c1, c2, c3) = (TSimd.Load(o2 + w), TSimd.Load(o2 + 2 * w), TSimd.Load(o2 + 3 * w));
                (d1, d2, d3) = (TSimd.Load(o3 + w), TSimd.Load(o3 + 2 * w), TSimd.Load(o3 + 3 * w));
            }
            TVector seen = TSimd.Zero;
            for (int j = 0; j < count; j++)
            {
                byte* values = rows[j];
                TVector x = TSimd.Broadcast(p[j]), y = TSimd.Broadcast(p1[j]), z = TSimd.Broadcast(p2[j]), u = TSimd.Broadcast(p3[j]);
                Ask(rows[j + Ahead] + column * TSource.Size, bytesAhead);
                TVector v = Load<TSource>(values, column, ref seen);
                a0 = TSimd.MultiplyAdd(x, v, a0);
                b0 = TSimd.MultiplyAdd(y, v, b0);
                c0 = TSimd.MultiplyAdd(z, v, c0);
                d0 = TSimd.MultiplyAdd(u, v, d0);
                if (TCount.Value > 1)
                {
                    v = Load<TSource>(values, column + w, ref seen);
                    a1 = TSimd.MultiplyAdd(x, v, a1);
                    b1 = TSimd.MultiplyAdd(y, v, b1);
                    c1 = TSimd.MultiplyAdd(z, v, c1);
                    d1 = TSimd.MultiplyAdd(u, v, d1);
                    v = Load<TSource>(values, column + 2 * w, ref seen);
                    a2 = TSimd.MultiplyAdd(x, v, a2);
                    b2 = TSimd.MultiplyAdd(y, v, b2);
                    c2 = TSimd.MultiplyAdd(z, v, c2);
                    d2 = TSimd.MultiplyAdd(u, v, d2);
                    v = Load<TSource>(values, column + 3 * w, ref seen);
                    a3 = TSimd.MultiplyAdd(x, v, a3);
                    b3 = TSimd.MultiplyAdd(y, v, b3);
                    c3 = TSimd.MultiplyAdd(z, v, c3);
                    d3 = TSimd.MultiplyAdd(u, v, d3);
                }
            }
            if (!TSource.IsTrusted(seen))
                return false;
            StoreFour<TCount>(o, a0, a1, a2, a3);
            StoreFour<TCount>(o1, b0, b1, b2, b3);
            StoreFour<TCount>(o2, c0, c1, c2, c3);
            StoreFour<TCount>(o3, d0, d1, d2, d3);
            return true;
        }

        // The first vector, and three more unless TCount is one.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void StoreFour<TCount>(float* o, TVector v0, TVector v1, TVector v2, TVector v3) where TCount : struct, ICount
        {
            int w = TSimd.Width;
            TSimd.Store(v0, o);
            if (TCount.Value > 1)
            {
                TSimd.Store(v1, o + w);
                TSimd.Store(v2, o + 2 * w);
                TSimd.Store(v3, o + 3 * w);
            }
        }
    }

    private struct Merge : IParallelBody
    {
        public Body Body;

        public void Execute(int worker, int workers) => Body.MergeStates(worker, workers);
    }

    private struct Sum : IParallelBody
    {
        public Body Body;
        public RawView Mass; // [batchSize, numHeads, kvLength]

        public readonly void Execute(int worker, int workers)
        {
            AttentionProblem problem = Body.Call->Problem;
            long blocks = (problem.KvLength + BlockN - 1L) / BlockN;
            (long first, long last) = Partition.Range(problem.NumSequences * problem.NumHeads * blocks, worker, workers);
            for (long task = first; task < last; task++)
            {
                (long row, int key0) = (task / blocks, (int)(task % blocks) * BlockN);
                int sequence = (int)(row / problem.NumHeads), head = (int)(row % problem.NumHeads), count = Math.Min(BlockN, problem.KvLength - key0);
                Body.SumWeights(sequence, head, key0, count, (float*)Mass.Address(sequence, head) + key0);
            }
        }
    }
}
