using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Attention of a few query rows over pages of codes (<see cref="AttentionDecodeQuantizedProblem"/>, Liu et al. 2024, arXiv:2402.02750):
/// codes become float lanes and nothing more, as scales and minima act on what they are multiplied with,
/// <code>
/// q · key_j = Σ (q_c · scale_c) code_jc + Σ q_c · minimum_c                     the products once a page
/// Σ p_j · value_jc = Σ (p_j · scale_jg) code_jc + Σ p_j · minimum_jg            the products once for 32 channels
/// </code>
/// Four rows at a time share the codes. Every thread has a run of the pages of each head, and states that are merged afterwards in the
/// order of the threads. Workspace per thread: a state of valueHeadDim + 2 floats a row of all heads, and for the rows of one key/value
/// head 2 · headDim floats each. Cost: the codes are read once for each key/value head.
/// </summary>
public sealed unsafe class QuantizedDecode<TSimd, TVector>()
    : CpuKernel<AttentionDecodeQuantizedProblem>($"attention-decode-quantized/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockN = 64; // keys
    private const int Stride = BlockN + 16; // sums of two keys are stored at a time and may write past the last
    private const int MaxGroups = AttentionProblem.MaxHeadDim / CodePages.GroupSize;
    private const int MinBytesToShare = 1 << 15; // read from cache in about the time that handing over work takes
    private const float Log2E = 1.44269504f;
    private const double Ln2 = 0.69314718055994531;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionDecodeQuantizedProblem problem, int threads) =>
        new Plan(problem).Floats * sizeof(float) * threads;

    /// <inheritdoc/>
    public override void Run(
        in AttentionDecodeQuantizedProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Plan = new Plan(problem),
            Workspace = (float*)workspace,
            Shares = problem.Bytes < MinBytesToShare ? 1 : workers.Count,
            Query = operands[AttentionDecodeQuantizedProblem.Query],
            PageTable = operands[AttentionDecodeQuantizedProblem.PageTable],
            KvLengths = operands[AttentionDecodeQuantizedProblem.KvLengths],
            KeyCodes = operands[AttentionDecodeQuantizedProblem.KeyCodes],
            KeyScale = operands[AttentionDecodeQuantizedProblem.KeyScale],
            KeyMinimum = operands[AttentionDecodeQuantizedProblem.KeyMinimum],
            ValueCodes = operands[AttentionDecodeQuantizedProblem.ValueCodes],
            ValueScale = operands[AttentionDecodeQuantizedProblem.ValueScale],
            ValueMinimum = operands[AttentionDecodeQuantizedProblem.ValueMinimum],
            Output = operands[AttentionDecodeQuantizedProblem.Output],
            Lse = operands[AttentionDecodeQuantizedProblem.Lse],
        };
        if (body.Shares == 1)
            body.Execute(0, 1);
        else
            workers.Run(ref body);
        for (long row = 0; row < body.Plan.Units * body.Plan.Rows; row++)
            body.Write(row);
    }

    // Where a thread's buffers lie, in floats. A unit is the rows of one key/value head of one sequence, of each four.
    private readonly struct Plan
    {
        public readonly int Rows, KeyWidth, ValueWidth;
        public readonly long Units, Totals, Maxima, Query, Folded, Scales, Scores, Weights, ValueScales, Floats;

        public Plan(in AttentionDecodeQuantizedProblem problem)
        {
            Rows = checked(problem.GroupSize * problem.QueryLength + 3) / 4 * 4;
            KeyWidth = (problem.HeadDim + 15) / 16 * 16;
            ValueWidth = (problem.ValueHeadDim + 15) / 16 * 16;
            Units = (long)problem.BatchSize * problem.NumKvHeads;
            long rows = checked(Units * Rows);
            Totals = checked(rows * ValueWidth);
            Maxima = Totals + (rows + 15) / 16 * 16;
            Query = Maxima + (rows + 15) / 16 * 16;
            Folded = Query + (long)Rows * KeyWidth;
            Scales = Folded + (long)Rows * KeyWidth;
            Scores = Scales + 2 * AttentionProblem.MaxHeadDim;
            Weights = Scores + 4 * Stride;
            ValueScales = Weights + 4 * Stride;
            Floats = checked(ValueScales + 2 * MaxGroups * Stride + 16);
        }
    }

    private struct Body : IParallelBody
    {
        public AttentionDecodeQuantizedProblem Problem;
        public Plan Plan;
        public float* Workspace;
        public int Shares;
        public RawView Query, PageTable, KvLengths, KeyCodes, KeyScale, KeyMinimum, ValueCodes, ValueScale, ValueMinimum, Output, Lse;

        public readonly void Execute(int worker, int workers)
        {
            if (Problem.Bits == 2)
                Execute<TwoBits<TSimd, TVector>>(worker, workers);
            else if (Problem.Bits == 4)
                Execute<FourBits<TSimd, TVector>>(worker, workers);
            else
                Execute<EightBits<TSimd, TVector>>(worker, workers);
        }

        // Merges the states of a row and writes it.
        public readonly void Write(long row)
        {
            int inUnit = (int)(row % Plan.Rows), query = inUnit / Problem.GroupSize;
            if (query >= Problem.QueryLength)
                return;
            int unit = (int)(row / Plan.Rows), batch = unit / Problem.NumKvHeads;
            int head = unit % Problem.NumKvHeads * Problem.GroupSize + inUnit % Problem.GroupSize;
            float max = float.NegativeInfinity;
            for (int i = 0; i < Shares; i++)
                max = Math.Max(max, Thread(i)[Plan.Maxima + row]);
            float* sums = Thread(0) + row * Plan.ValueWidth;
            float total = 0f;
            for (int i = 0; i < Shares; i++)
            {
                float weight = MathF.Pow(2f, Thread(i)[Plan.Maxima + row] - AttentionRow<TSimd, TVector>.Shift(max));
                total += weight * Thread(i)[Plan.Totals + row];
                AttentionRow<TSimd, TVector>.Scale(Thread(i) + row * Plan.ValueWidth, Plan.ValueWidth, weight);
                if (i > 0)
                    Rows<TSimd, TVector>.Add(Thread(i) + row * Plan.ValueWidth, Plan.ValueWidth, sums);
            }
            AttentionRow<TSimd, TVector>.Scale(sums, Plan.ValueWidth, total == 0f ? 0f : 1f / total);
            Rows<TSimd, TVector>.Narrow(sums, Problem.ValueHeadDim, Output.Address(batch, query, head), Output.Type);
            *(float*)Lse.Address(batch, head, query) = total == 0f ? float.NegativeInfinity : (float)((max + Math.Log2(total)) * Ln2);
        }

        private readonly float* Thread(int thread) => Workspace + thread * Plan.Floats;

        private readonly void Execute<TCodes>(int worker, int workers) where TCodes : struct, ICodes<TVector>
        {
            float* thread = Thread(worker);
            long rows = Plan.Units * Plan.Rows;
            new Span<float>(thread + Plan.Maxima, checked((int)rows)).Fill(float.NegativeInfinity);
            new Span<float>(thread + Plan.Totals, (int)rows).Clear();
            new Span<float>(thread + Plan.Scales, (int)(Plan.Floats - Plan.Scales)).Clear();
            for (int unit = 0; unit < Plan.Units; unit++)
            {
                int batch = unit / Problem.NumKvHeads, kvHead = unit % Problem.NumKvHeads, length = KvLengths.ReadInt32(batch, kvHead);
                int pages = (int)(((long)length + Problem.PageSize - 1) / Problem.PageSize);
                (long first, long last) = Partition.Range(pages, worker, workers);
                new Span<float>(thread + (long)unit * Plan.Rows * Plan.ValueWidth, Plan.Rows * Plan.ValueWidth).Clear();
                LoadQueries(batch, kvHead, thread + Plan.Query);
                for (int page = (int)first; page < last; page++)
                {
                    int number = PageTable.ReadInt32(batch, kvHead, page);
                    int next = page + 1 < last ? PageTable.ReadInt32(batch, kvHead, page + 1) : number;
                    int count = (int)Math.Min(Problem.PageSize, length - (long)page * Problem.PageSize);
                    Fold(thread, number);
                    for (int j = 0; j < count; j += BlockN)
                        AddBlock<TCodes>(thread, unit, number, next, j, Math.Min(BlockN, count - j));
                }
            }
        }

        // The rows of a unit, times scale · log2 e; those that fill up four are 0.
        private readonly void LoadQueries(int batch, int kvHead, float* target)
        {
            new Span<float>(target, Plan.Rows * Plan.KeyWidth).Clear();
            for (int r = 0; r < Problem.GroupSize * Problem.QueryLength; r++)
            {
                byte* row = Query.Address(batch, r / Problem.GroupSize, kvHead * Problem.GroupSize + r % Problem.GroupSize);
                Rows<TSimd, TVector>.Widen(row, Problem.Type, Problem.HeadDim, target + r * Plan.KeyWidth);
                AttentionRow<TSimd, TVector>.Scale(target + r * Plan.KeyWidth, Plan.KeyWidth, Problem.Scale * Log2E);
            }
        }

        // The queries times a page's scales.
        private readonly void Fold(float* thread, int page)
        {
            float* scales = thread + Plan.Scales, minima = scales + AttentionProblem.MaxHeadDim;
            Rows<TSimd, TVector>.Widen(KeyScale.Address(page), DataType.Float16, Problem.HeadDim, scales);
            Rows<TSimd, TVector>.Widen(KeyMinimum.Address(page), DataType.Float16, Problem.HeadDim, minima);
            for (int r = 0; r < Plan.Rows; r++)
            {
                float* query = thread + Plan.Query + r * Plan.KeyWidth, folded = thread + Plan.Folded + r * Plan.KeyWidth;
                for (int c = 0; c < Plan.KeyWidth; c += TSimd.Width)
                    TSimd.Store(TSimd.Multiply(TSimd.Load(query + c), TSimd.Load(scales + c)), folded + c);
            }
        }

        private readonly void AddBlock<TCodes>(float* thread, int unit, int page, int next, int first, int count)
            where TCodes : struct, ICodes<TVector>
        {
            byte* keys = KeyCodes.Address(page, first), nextKeys = KeyCodes.Address(next, first);
            byte* values = ValueCodes.Address(page, first), nextValues = ValueCodes.Address(next, first);
            long keyStride = KeyCodes.Layout.Stride(1), valueStride = ValueCodes.Layout.Stride(1);
            float* scores = thread + Plan.Scores, weights = thread + Plan.Weights;
            float* minima = thread + Plan.Scales + AttentionProblem.MaxHeadDim;
            int groups = Problem.Codes.Groups, padded = Rows<TSimd, TVector>.Padded(count);
            LoadValueScales(thread + Plan.ValueScales, page, first, count, padded);
            for (int r = 0; r < Plan.Rows; r += 4)
            {
                float* query = thread + Plan.Query + r * Plan.KeyWidth, folded = thread + Plan.Folded + r * Plan.KeyWidth;
                Score<TCodes>(folded, Plan.KeyWidth, keys, keyStride, nextKeys - keys, count, Problem.HeadDim, scores);
                long row = (long)unit * Plan.Rows + r;
                float* sums = thread + row * Plan.ValueWidth;
                for (int i = 0; i < 4; i++)
                {
                    float* s = scores + i * Stride;
                    TVector bias = TSimd.Broadcast(Dot(query + i * Plan.KeyWidth, minima, Plan.KeyWidth));
                    for (int j = 0; j < padded; j += TSimd.Width)
                        TSimd.Store(TSimd.Add(TSimd.Load(s + j), bias), s + j);
                    AttentionRow<TSimd, TVector>.Update(
                        s, count, ref thread[Plan.Maxima + row + i], ref thread[Plan.Totals + row + i], sums + i * Plan.ValueWidth,
                        Plan.ValueWidth);
                    new Span<float>(s + count, padded - count).Clear();
                }
                for (int g = 0; g < groups; g++)
                {
                    float* scale = thread + Plan.ValueScales + g * Stride, minimum = scale + MaxGroups * Stride;
                    int column = g * CodePages.GroupSize, size = Math.Min(CodePages.GroupSize, Problem.ValueHeadDim - column);
                    Weigh(scores, scale, minimum, padded, weights, sums + column, Plan.ValueWidth, size);
                    int done = 0;
                    for (; done <= size - 2 * TSimd.Width; done += 2 * TSimd.Width)
                        Add<TCodes>(weights, values, valueStride, nextValues - values, count, column + done, sums + column + done,
                            Plan.ValueWidth);
                    if (done < size)
                        AddOneByOne(weights, values, valueStride, count, column + done, column + size, sums, Plan.ValueWidth, TCodes.Bits);
                }
            }
        }

        // A block's scales of values [groups, keys], and its minima; 0 from the last key on.
        private readonly void LoadValueScales(float* target, int page, int first, int count, int padded)
        {
            int groups = Problem.Codes.Groups;
            float* minima = target + MaxGroups * Stride;
            for (int j = 0; j < padded; j++)
            {
                var scales = (Half*)ValueScale.Address(page, first + Math.Min(j, count - 1));
                var least = (Half*)ValueMinimum.Address(page, first + Math.Min(j, count - 1));
                for (int g = 0; g < groups; g++)
                    (target[g * Stride + j], minima[g * Stride + j]) = j < count ? ((float)scales[g], (float)least[g]) : (0f, 0f);
            }
        }

        private static float Dot(float* a, float* b, int width)
        {
            TVector sum = TSimd.Zero;
            for (int c = 0; c < width; c += TSimd.Width)
                sum = TSimd.MultiplyAdd(TSimd.Load(a + c), TSimd.Load(b + c), sum);
            return TSimd.Sum(sum);
        }

        // Four rows with two keys at a time.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void Score<TCodes>(float* q, int width, byte* keys, long stride, long ahead, int count, int size, float* scores)
            where TCodes : struct, ICodes<TVector>
        {
            float* q1 = q + width, q2 = q1 + width, q3 = q2 + width;
            int whole = size / TSimd.Width * TSimd.Width, bytes = size * TCodes.Bits / 8;
            for (int j = 0; j < count; j += 2)
            {
                byte* k = keys + j * stride, l = j + 1 < count ? k + stride : k;
                Ask(k + ahead, bytes);
                Ask(l + ahead, bytes);
                TVector a0 = TSimd.Zero, a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
                for (int c = 0; c < whole; c += TSimd.Width)
                {
                    TVector x = TCodes.Load(k, c), y = TCodes.Load(l, c), row = TSimd.Load(q + c);
                    a0 = TSimd.MultiplyAdd(row, x, a0);
                    b0 = TSimd.MultiplyAdd(row, y, b0);
                    row = TSimd.Load(q1 + c);
                    a1 = TSimd.MultiplyAdd(row, x, a1);
                    b1 = TSimd.MultiplyAdd(row, y, b1);
                    row = TSimd.Load(q2 + c);
                    a2 = TSimd.MultiplyAdd(row, x, a2);
                    b2 = TSimd.MultiplyAdd(row, y, b2);
                    row = TSimd.Load(q3 + c);
                    a3 = TSimd.MultiplyAdd(row, x, a3);
                    b3 = TSimd.MultiplyAdd(row, y, b3);
                }
                TSimd.StoreSums(a0, a1, a2, a3, b0, b1, b2, b3, scores + j, Stride);
                for (int c = whole; c < size; c++)
                {
                    int x = Codes.Read(k, c, TCodes.Bits), y = Codes.Read(l, c, TCodes.Bits);
                    for (int r = 0; r < 4; r++)
                    {
                        scores[r * Stride + j] += q[r * width + c] * x;
                        scores[r * Stride + j + 1] += q[r * width + c] * y;
                    }
                }
            }
        }

        // Weights of the codes of 32 channels; what the minima add goes into the sums.
        private static void Weigh(float* scores, float* scale, float* minimum, int count, float* weights, float* sums, int width, int size)
        {
            for (int r = 0; r < 4; r++)
            {
                TVector least = TSimd.Zero;
                for (int j = 0; j < count; j += TSimd.Width)
                {
                    TVector p = TSimd.Load(scores + r * Stride + j);
                    TSimd.Store(TSimd.Multiply(p, TSimd.Load(scale + j)), weights + r * Stride + j);
                    least = TSimd.MultiplyAdd(p, TSimd.Load(minimum + j), least);
                }
                float bias = TSimd.Sum(least);
                for (int c = 0; c < size; c++)
                    sums[r * width + c] += bias;
            }
        }

        // Two vectors of columns of four rows.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void Add<TCodes>(
            float* weights, byte* values, long stride, long ahead, int count, int column, float* sums, int width)
            where TCodes : struct, ICodes<TVector>
        {
            int w = TSimd.Width;
            float* o1 = sums + width, o2 = o1 + width, o3 = o2 + width;
            TVector a0 = TSimd.Load(sums), a1 = TSimd.Load(o1), a2 = TSimd.Load(o2), a3 = TSimd.Load(o3);
            TVector b0 = TSimd.Load(sums + w), b1 = TSimd.Load(o1 + w), b2 = TSimd.Load(o2 + w), b3 = TSimd.Load(o3 + w);
            for (int j = 0; j < count; j++, values += stride)
            {
                if (column % 128 == 0) // once a line or less
                    Vectors.Prefetch(values + ahead + column * TCodes.Bits / 8);
                TVector x = TCodes.Load(values, column), y = TCodes.Load(values, column + w), p = TSimd.Broadcast(weights[j]);
                a0 = TSimd.MultiplyAdd(p, x, a0);
                b0 = TSimd.MultiplyAdd(p, y, b0);
                p = TSimd.Broadcast(weights[Stride + j]);
                a1 = TSimd.MultiplyAdd(p, x, a1);
                b1 = TSimd.MultiplyAdd(p, y, b1);
                p = TSimd.Broadcast(weights[2 * Stride + j]);
                a2 = TSimd.MultiplyAdd(p, x, a2);
                b2 = TSimd.MultiplyAdd(p, y, b2);
                p = TSimd.Broadcast(weights[3 * Stride + j]);
                a3 = TSimd.MultiplyAdd(p, x, a3);
                b3 = TSimd.MultiplyAdd(p, y, b3);
            }
            TSimd.Store(a0, sums);
            TSimd.Store(a1, o1);
            TSimd.Store(a2, o2);
            TSimd.Store(a3, o3);
            TSimd.Store(b0, sums + w);
            TSimd.Store(b1, o1 + w);
            TSimd.Store(b2, o2 + w);
            TSimd.Store(b3, o3 + w);
        }

        // Columns that do not fill two vectors.
        private static void AddOneByOne(
            float* weights, byte* values, long stride, int count, int first, int end, float* sums, int width, int bits)
        {
            for (int r = 0; r < 4; r++)
            {
                for (int c = first; c < end; c++)
                {
                    float sum = 0f;
                    for (int j = 0; j < count; j++)
                        sum += weights[r * Stride + j] * Codes.Read(values + j * stride, c, bits);
                    sums[r * width + c] += sum;
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Ask(byte* row, int bytes)
        {
            for (int at = 0; at < bytes; at += 64)
                Vectors.Prefetch(row + at);
        }
    }
}
