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
public sealed unsafe partial class FlashDecode<TSimd, TVector>(string name = "attention-decode/cpu") : CpuKernel<AttentionProblem>($"{name}-{TSimd.Name}")
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
    private const int StepRows = 32; // rows of values that stay in the first-level cache while columns are done one after another

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionProblem problem, int threads) =>
        new Plan(problem, ThreadsFor(problem, threads), keepsWeights: false).Bytes;

    /// <inheritdoc/>
    public override void Run(in AttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers) =>
        Run(problem, operands, default, addsMass: false, workspace, workers);

    /// <summary>Decodes, and sums up over the rows what weight each key got.</summary>
    /// <param name="problem">The problem; not ragged where weights are summed.</param>
    /// <param name="operands">Its operands.</param>
    /// <param name="mass">f32 [batchSize, numHeads, kvLength], written or added to; lse must be there then. The default for none.</param>
    /// <param name="addsMass">Whether sums are added to what is there.</param>
    /// <param name="workspace">Room for the plan, and for weights.</param>
    /// <param name="workers">Threads.</param>
    internal static void Run(
        in AttentionProblem problem, ReadOnlySpan<RawView> operands, in RawView mass, bool addsMass, void* workspace, WorkerPool workers)
    {
        if (problem.BatchSize == 0 || problem.QueryLength == 0 || problem.NumHeads == 0)
        {
            for (int i = 0; mass.IsPresent && !addsMass && i < problem.BatchSize * problem.NumHeads; i++)
                new Span<float>(mass.Address(i / problem.NumHeads, i % problem.NumHeads), problem.KvLength).Clear();
            return;
        }
        var call = new AttentionCall(problem, operands);
        var plan = new Plan(problem, ThreadsFor(problem, workers.Count), mass.IsPresent);
        var body = new Body { Call = &call, Plan = plan, Workspace = (byte*)workspace, Mass = mass, AddsMass = addsMass };
        if (mass.IsPresent)
            body.Kept = ClearKept(problem, body.Workspace + plan.Bytes);
        int shares = body.CutEvenly(ThreadsFor(problem, workers.Count));
        if (shares == 1)
        {
            body.Execute(0, 1);
            return;
        }
        workers.Run(ref body);
        if (!body.HasSplits(shares))
            return;
        var merge = new Merge { Body = body };
        workers.Run(ref merge);
    }

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
        public int KeptFrom; // the first key of this part whose weight was kept, or −1
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

        // A head whose weights are kept is one unit, so that its rows add to its mass in their order.
        public Plan(in AttentionProblem problem, int threads, bool keepsWeights)
        {
            int group = problem.GroupSize;
            QueryRows = Math.Clamp(keepsWeights ? problem.QueryLength : MaxRows / Math.Max(1, group), 1, Math.Max(1, problem.QueryLength));
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

    private partial struct Body : IParallelBody
    {
        public AttentionCall* Call;
        public Plan Plan;
        public byte* Workspace;
        public RawView Mass; // [batchSize, numHeads, kvLength], or absent
        public bool AddsMass;
        public float* Kept; // weights [sequences, heads, rows, KeptStride] where mass is wanted, else null

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

        private readonly byte* Thread(int thread) => Workspace + Plan.ThreadBegin + thread * Plan.ThreadBytes;

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
            {
                Write(unit, row, state);
                if (Kept == null)
                    continue;
                BeginMass(unit, row);
                AddMass(unit, row, 0, keys.Count, Maximum(state, row));
            }
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
                scratch.Rows[row].KeptFrom = -1;
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
    }
}
