using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Attention of a few query rows over a long cache (Dao et al. 2023, "Flash-Decoding"): keys and values are streamed once, at
/// memory speed, for all rows of a group: the query rows of all heads that share the key/value head. Per block of 128 keys:
/// scores for four rows at a time, the online softmax of each row, then the weighted sum of the values for two
/// rows and eight vectors at a time, all from registers; the block stays in the second-level cache.
/// Parallel scheme: a unit is one (sequence, key/value head, range of keys); ranges are cut only when the heads do not come
/// out even over the threads, and their states are merged afterwards in a fixed order (spec: o = Σ 2^(m_s − m) · o_s / l).
/// Workspace: a state of valueHeadDim + 2 floats per row and range; per thread headDim + 128 floats per row.
/// Cost: kvLength · (headDim + valueHeadDim) elements read per sequence and key/value head.
/// </summary>
public sealed unsafe class FlashDecode<TSimd, TVector>() : CpuKernel<AttentionProblem>($"attention-decode/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockN = 128; // 64 KiB of f32 keys, then as much of values: 64 and 32 keys took 9 and 21 % longer
    private const int MinKeysPerSplit = 256; // below this a merge costs more than the second thread brings
    private const int MinBytesToShare = 1 << 17; // read from cache in about the time that handing over work takes

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in AttentionProblem problem) =>
        problem.IsPlain && problem.KvType.IsFloat() ? null : "computes plain and causal attention alone";

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionProblem problem, int threads) =>
        new Plan(problem, ThreadsFor(problem, threads)).Bytes;

    /// <inheritdoc/>
    public override void Run(in AttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        if (problem.BatchSize == 0 || problem.QueryLength == 0 || problem.NumHeads == 0)
            return;
        var body = new Body
        {
            Problem = problem,
            Plan = new Plan(problem, ThreadsFor(problem, workers.Count)),
            Query = operands[AttentionProblem.Query],
            Key = operands[AttentionProblem.Key],
            Value = operands[AttentionProblem.Value],
            Output = operands[AttentionProblem.Output],
            Lse = operands[AttentionProblem.Lse],
            Workspace = (float*)workspace,
        };
        if (ThreadsFor(problem, workers.Count) == 1)
            body.Execute(0, 1);
        else
            workers.Run(ref body);
        if (body.Plan.Splits > 1)
        {
            var merge = new Merge { Body = body };
            workers.Run(ref merge);
        }
    }

    private static int ThreadsFor(in AttentionProblem problem, int threads) => problem.Bytes < MinBytesToShare ? 1 : threads;

    // The split of the work, and where buffers lie in the workspace, in floats.
    private readonly struct Plan
    {
        public readonly int GroupRows, ValueWidth, Splits;
        public readonly long Tasks, StateFloats, ThreadFloats, Bytes;

        public Plan(in AttentionProblem problem, int threads)
        {
            Tasks = (long)problem.BatchSize * problem.NumKvHeads;
            GroupRows = checked(problem.QueryLength * problem.GroupSize);
            ValueWidth = (problem.ValueHeadDim + TSimd.Width - 1) / TSimd.Width * TSimd.Width;
            Splits = Tasks % threads == 0 ? 1 : Math.Clamp(problem.KvLength / MinKeysPerSplit, 1, threads);
            StateFloats = (long)GroupRows * (ValueWidth + 2);
            ThreadFloats = ((long)GroupRows * (problem.HeadDim + BlockN) + 63) / 64 * 64;
            Bytes = checked((Tasks * Splits * StateFloats + 64 + threads * ThreadFloats) * sizeof(float));
        }

        public long ThreadBegin => (Tasks * Splits * StateFloats + 63) / 64 * 64;
    }

    private struct Body : IParallelBody
    {
        public AttentionProblem Problem;
        public Plan Plan;
        public RawView Query, Key, Value, Output, Lse;
        public float* Workspace;

        public void Execute(int worker, int workers)
        {
            float* scratch = Workspace + Plan.ThreadBegin + worker * Plan.ThreadFloats;
            (long first, long last) = Partition.Range(Plan.Tasks * Plan.Splits, worker, workers);
            for (long unit = first; unit < last; unit++)
            {
                long task = unit / Plan.Splits;
                (long firstKey, long lastKey) = Partition.Range(Problem.KvLength, (int)(unit % Plan.Splits), Plan.Splits);
                switch (Key.Type)
                {
                    case DataType.Float32:
                        Stream<Float32Source<TSimd, TVector>>(task, firstKey, lastKey, State(unit), scratch);
                        break;
                    case DataType.Float16:
                        Stream<Float16Source<TSimd, TVector>>(task, firstKey, lastKey, State(unit), scratch);
                        break;
                    default:
                        Stream<BFloat16Source<TSimd, TVector>>(task, firstKey, lastKey, State(unit), scratch);
                        break;
                }
                if (Plan.Splits == 1)
                {
                    for (int row = 0; row < Plan.GroupRows; row++)
                        Write(task, row, State(unit));
                }
            }
        }

        // A state: sums [rows, valueWidth], maxima [rows], totals [rows].
        public readonly float* State(long unit) => Workspace + unit * Plan.StateFloats;

        public readonly void Write(long task, int row, float* state)
        {
            float* maxima = state + (long)Plan.GroupRows * Plan.ValueWidth;
            (int batch, int head, int query) = Place(task, row);
            AttentionRow<TSimd, TVector>.Write(
                Output, Lse, batch, head, query, maxima[row], maxima[Plan.GroupRows + row], state + (long)row * Plan.ValueWidth, Plan.ValueWidth);
        }

        // Row r of a group is query row r div groupSize of the group's head r mod groupSize.
        private readonly (int Batch, int Head, int Query) Place(long task, int row) =>
            ((int)(task / Problem.NumKvHeads), (int)(task % Problem.NumKvHeads) * Problem.GroupSize + row % Problem.GroupSize, row / Problem.GroupSize);

        private readonly int Visible(int row, long key0, int count) =>
            (int)Math.Clamp(Problem.VisibleKeys(row / Problem.GroupSize) - key0, 0, count);

        private readonly void Stream<TSource>(long task, long firstKey, long lastKey, float* state, float* queryRows)
            where TSource : struct, ISource<TVector>
        {
            int rows = Plan.GroupRows;
            float* scores = queryRows + (long)rows * Problem.HeadDim;
            float* maxima = state + (long)rows * Plan.ValueWidth;
            float* totals = maxima + rows;
            for (int row = 0; row < rows; row++)
            {
                (int batch, int head, int query) = Place(task, row);
                AttentionRow<TSimd, TVector>.LoadQuery(Query, batch, query, head, Problem, queryRows + (long)row * Problem.HeadDim);
                maxima[row] = float.NegativeInfinity;
                totals[row] = 0f;
            }
            Unsafe.InitBlockUnaligned(state, 0, checked((uint)(rows * Plan.ValueWidth * sizeof(float))));
            int b = (int)(task / Problem.NumKvHeads), kvHead = (int)(task % Problem.NumKvHeads);
            long keyStride = Key.Layout.Stride(1) * TSource.Size, valueStride = Value.Layout.Stride(1) * TSource.Size;
            for (long key0 = firstKey; key0 < lastKey; key0 += BlockN)
            {
                int count = (int)Math.Min(BlockN, lastKey - key0);
                var keys = new RowSequence(Key.Address(b, key0, kvHead), keyStride);
                var values = new RowSequence(Value.Address(b, key0, kvHead), valueStride);
                int row = 0;
                for (; row <= rows - 4; row += 4)
                    ScoreFour<TSource>(queryRows + (long)row * Problem.HeadDim, keys, count, Problem.HeadDim, scores + (long)row * BlockN);
                for (; row < rows; row++)
                    ScoreOne<TSource>(queryRows + (long)row * Problem.HeadDim, keys, count, Problem.HeadDim, scores + (long)row * BlockN);
                for (row = 0; row < rows; row++)
                {
                    int visible = Visible(row, key0, count);
                    if (visible > 0)
                    {
                        AttentionRow<TSimd, TVector>.Update(
                            scores + (long)row * BlockN, visible, ref maxima[row], ref totals[row], state + (long)row * Plan.ValueWidth, Plan.ValueWidth);
                    }
                }
                // Two rows share a pass over the values they both see (a masked value, which may be NaN, is never touched).
                row = 0;
                for (; row <= rows - 2; row += 2)
                {
                    int common = Visible(row, key0, count), more = Visible(row + 1, key0, count);
                    float* p = scores + (long)row * BlockN, sums = state + (long)row * Plan.ValueWidth;
                    AddValues<TSource, Counts.Two>(p, values, common, sums);
                    AddValues<TSource, Counts.One>(p + BlockN + common, values.After(common), more - common, sums + Plan.ValueWidth);
                }
                if (row < rows)
                    AddValues<TSource, Counts.One>(scores + (long)row * BlockN, values, Visible(row, key0, count), state + (long)row * Plan.ValueWidth);
            }
        }

        // scores[r, j] = q_r · k_j for four rows. Keys are read one after another, in the order of memory. Asking for the
        // block's values meanwhile made it a fifth slower: the hardware's own prefetching does better.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void ScoreFour<TSource>(float* q, in RowSequence keys, int count, int size, float* scores)
            where TSource : struct, ISource<TVector>
        {
            int w = TSimd.Width;
            float* q1 = q + size, q2 = q1 + size, q3 = q2 + size;
            byte* k = keys.First;
            for (int j = 0; j < count; j++, k += keys.Stride)
            {
                TVector s0 = TSimd.Zero, s1 = TSimd.Zero, s2 = TSimd.Zero, s3 = TSimd.Zero;
                int c = 0;
                for (; c <= size - w; c += w)
                {
                    TVector a = TSource.Load(k, c);
                    s0 = TSimd.MultiplyAdd(TSimd.Load(q + c), a, s0);
                    s1 = TSimd.MultiplyAdd(TSimd.Load(q1 + c), a, s1);
                    s2 = TSimd.MultiplyAdd(TSimd.Load(q2 + c), a, s2);
                    s3 = TSimd.MultiplyAdd(TSimd.Load(q3 + c), a, s3);
                }
                Vector128<float> r = TSimd.SumFour(s0, s1, s2, s3);
                for (; c < size; c++)
                    r += TSource.LoadOne(k, c) * Vector128.Create(q[c], q1[c], q2[c], q3[c]);
                scores[j] = r.ToScalar();
                scores[BlockN + j] = r.GetElement(1);
                scores[2 * BlockN + j] = r.GetElement(2);
                scores[3 * BlockN + j] = r.GetElement(3);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void ScoreOne<TSource>(float* q, in RowSequence keys, int count, int size, float* scores)
            where TSource : struct, ISource<TVector>
        {
            byte* k = keys.First;
            int j = 0;
            for (; j <= count - 4; j += 4)
            {
                TVector s0 = DotVector<TSource>(q, k, size), s1 = DotVector<TSource>(q, k + keys.Stride, size);
                TVector s2 = DotVector<TSource>(q, k + 2 * keys.Stride, size), s3 = DotVector<TSource>(q, k + 3 * keys.Stride, size);
                Vector128<float> r = TSimd.SumFour(s0, s1, s2, s3);
                for (int c = size - size % TSimd.Width; c < size; c++)
                {
                    r += q[c] * Vector128.Create(
                        TSource.LoadOne(k, c), TSource.LoadOne(k + keys.Stride, c),
                        TSource.LoadOne(k + 2 * keys.Stride, c), TSource.LoadOne(k + 3 * keys.Stride, c));
                }
                r.Store(scores + j);
                k += 4 * keys.Stride;
            }
            for (; j < count; j++, k += keys.Stride)
            {
                float sum = TSimd.Sum(DotVector<TSource>(q, k, size));
                for (int c = size - size % TSimd.Width; c < size; c++)
                    sum += q[c] * TSource.LoadOne(k, c);
                scores[j] = sum;
            }
        }

        // The products of the whole vectors of a row, added up lane by lane.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector DotVector<TSource>(float* q, byte* key, int size) where TSource : struct, ISource<TVector>
        {
            int w = TSimd.Width;
            TVector s0 = TSimd.Zero, s1 = TSimd.Zero;
            int c = 0;
            for (; c <= size - 2 * w; c += 2 * w)
            {
                s0 = TSimd.MultiplyAdd(TSimd.Load(q + c), TSource.Load(key, c), s0);
                s1 = TSimd.MultiplyAdd(TSimd.Load(q + c + w), TSource.Load(key, c + w), s1);
            }
            if (c <= size - w)
                s0 = TSimd.MultiplyAdd(TSimd.Load(q + c), TSource.Load(key, c), s0);
            return TSimd.Add(s0, s1);
        }

        // sums[r] += Σ_j p[r, j] · v_j for one or two rows. Eight vectors of each row stay in registers over the block.
        private readonly void AddValues<TSource, TRowCount>(float* p, in RowSequence values, int count, float* sums)
            where TSource : struct, ISource<TVector>
            where TRowCount : struct, ICount
        {
            if (count <= 0)
                return;
            int w = TSimd.Width, size = Problem.ValueHeadDim;
            int c = 0;
            for (; c <= size - 8 * w; c += 8 * w)
                AddColumns<TSource, TRowCount, Counts.Eight>(p, values, count, c, sums, Plan.ValueWidth);
            for (; c <= size - 4 * w; c += 4 * w)
                AddColumns<TSource, TRowCount, Counts.Four>(p, values, count, c, sums, Plan.ValueWidth);
            for (; c <= size - w; c += w)
                AddColumns<TSource, TRowCount, Counts.One>(p, values, count, c, sums, Plan.ValueWidth);
            for (; c < size; c++)
            {
                for (int r = 0; r < TRowCount.Value; r++)
                {
                    float sum = 0f;
                    for (int j = 0; j < count; j++)
                        sum += p[r * BlockN + j] * TSource.LoadOne(values.First + j * values.Stride, c);
                    sums[r * Plan.ValueWidth + c] += sum;
                }
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void AddColumns<TSource, TRowCount, TCount>(
            float* p, in RowSequence rows, int count, int column, float* sums, int width)
            where TSource : struct, ISource<TVector>
            where TRowCount : struct, ICount
            where TCount : struct, ICount
        {
            int w = TSimd.Width;
            float* o = sums + column;
            float* o1 = TRowCount.Value > 1 ? o + width : o;
            TVector a0 = TSimd.Load(o), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
            TVector b0 = TSimd.Load(o1), b1 = b0, b2 = b0, b3 = b0, b4 = b0, b5 = b0, b6 = b0, b7 = b0;
            if (TCount.Value > 1) (a1, a2, a3) = (TSimd.Load(o + w), TSimd.Load(o + 2 * w), TSimd.Load(o + 3 * w));
            if (TCount.Value > 1) (b1, b2, b3) = (TSimd.Load(o1 + w), TSimd.Load(o1 + 2 * w), TSimd.Load(o1 + 3 * w));
            if (TCount.Value > 4)
            {
                (a4, a5, a6, a7) = (TSimd.Load(o + 4 * w), TSimd.Load(o + 5 * w), TSimd.Load(o + 6 * w), TSimd.Load(o + 7 * w));
                (b4, b5, b6, b7) = (TSimd.Load(o1 + 4 * w), TSimd.Load(o1 + 5 * w), TSimd.Load(o1 + 6 * w), TSimd.Load(o1 + 7 * w));
            }
            byte* values = rows.First;
            for (int j = 0; j < count; j++, values += rows.Stride)
            {
                TVector x = TSimd.Broadcast(p[j]), y = x;
                if (TRowCount.Value > 1) y = TSimd.Broadcast(p[BlockN + j]);
                TVector v = TSource.Load(values, column);
                a0 = TSimd.MultiplyAdd(x, v, a0);
                if (TRowCount.Value > 1) b0 = TSimd.MultiplyAdd(y, v, b0);
                if (TCount.Value > 1)
                {
                    v = TSource.Load(values, column + w);
                    a1 = TSimd.MultiplyAdd(x, v, a1);
                    if (TRowCount.Value > 1) b1 = TSimd.MultiplyAdd(y, v, b1);
                    v = TSource.Load(values, column + 2 * w);
                    a2 = TSimd.MultiplyAdd(x, v, a2);
                    if (TRowCount.Value > 1) b2 = TSimd.MultiplyAdd(y, v, b2);
                    v = TSource.Load(values, column + 3 * w);
                    a3 = TSimd.MultiplyAdd(x, v, a3);
                    if (TRowCount.Value > 1) b3 = TSimd.MultiplyAdd(y, v, b3);
                }
                if (TCount.Value > 4)
                {
                    v = TSource.Load(values, column + 4 * w);
                    a4 = TSimd.MultiplyAdd(x, v, a4);
                    if (TRowCount.Value > 1) b4 = TSimd.MultiplyAdd(y, v, b4);
                    v = TSource.Load(values, column + 5 * w);
                    a5 = TSimd.MultiplyAdd(x, v, a5);
                    if (TRowCount.Value > 1) b5 = TSimd.MultiplyAdd(y, v, b5);
                    v = TSource.Load(values, column + 6 * w);
                    a6 = TSimd.MultiplyAdd(x, v, a6);
                    if (TRowCount.Value > 1) b6 = TSimd.MultiplyAdd(y, v, b6);
                    v = TSource.Load(values, column + 7 * w);
                    a7 = TSimd.MultiplyAdd(x, v, a7);
                    if (TRowCount.Value > 1) b7 = TSimd.MultiplyAdd(y, v, b7);
                }
            }
            StoreRow<TCount>(o, a0, a1, a2, a3, a4, a5, a6, a7);
            if (TRowCount.Value > 1)
                StoreRow<TCount>(o1, b0, b1, b2, b3, b4, b5, b6, b7);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void StoreRow<TCount>(
            float* o, TVector v0, TVector v1, TVector v2, TVector v3, TVector v4, TVector v5, TVector v6, TVector v7)
            where TCount : struct, ICount
        {
            int w = TSimd.Width;
            TSimd.Store(v0, o);
            if (TCount.Value > 1)
            {
                TSimd.Store(v1, o + w);
                TSimd.Store(v2, o + 2 * w);
                TSimd.Store(v3, o + 3 * w);
            }
            if (TCount.Value > 4)
            {
                TSimd.Store(v4, o + 4 * w);
                TSimd.Store(v5, o + 5 * w);
                TSimd.Store(v6, o + 6 * w);
                TSimd.Store(v7, o + 7 * w);
            }
        }
    }

    // Adds the states of all ranges of a row into the first, in order, and writes the row.
    private struct Merge : IParallelBody
    {
        public Body Body;

        public void Execute(int worker, int workers)
        {
            Plan plan = Body.Plan;
            (long first, long last) = Partition.Range(plan.Tasks * plan.GroupRows, worker, workers);
            for (long index = first; index < last; index++)
            {
                long task = index / plan.GroupRows;
                int row = (int)(index % plan.GroupRows);
                float* target = Body.State(task * plan.Splits);
                for (int split = 1; split < plan.Splits; split++)
                    Add(plan, target, Body.State(task * plan.Splits + split), row);
                Body.Write(task, row, target);
            }
        }

        private static void Add(in Plan plan, float* target, float* source, int row)
        {
            long maxima = (long)plan.GroupRows * plan.ValueWidth + row, totals = maxima + plan.GroupRows, sums = (long)row * plan.ValueWidth;
            float maximum = Math.Max(target[maxima], source[maxima]);
            if (maximum == float.NegativeInfinity)
                return;
            float targetFactor = MathF.Pow(2f, target[maxima] - maximum), sourceFactor = MathF.Pow(2f, source[maxima] - maximum);
            TVector f = TSimd.Broadcast(targetFactor), g = TSimd.Broadcast(sourceFactor);
            for (int c = 0; c < plan.ValueWidth; c += TSimd.Width)
            {
                TVector scaled = TSimd.Multiply(TSimd.Load(target + sums + c), f);
                TSimd.Store(TSimd.MultiplyAdd(TSimd.Load(source + sums + c), g, scaled), target + sums + c);
            }
            target[totals] = target[totals] * targetFactor + source[totals] * sourceFactor;
            target[maxima] = maximum;
        }
    }

    // Rows of keys or values in memory.
    private readonly struct RowSequence(byte* first, long stride)
    {
        public readonly byte* First = first;
        public readonly long Stride = stride;

        public RowSequence After(long count) => new(First + count * Stride, Stride);
    }
}
