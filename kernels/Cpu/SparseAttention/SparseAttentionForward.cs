using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Attention over lists of keys: for a block of up to 256 query rows of a head, and one block of keys after another,
/// <code>
/// s = cap((scale · log2 e · q) · k)      m' = max(m, max s)      p = 2^(s − m')      over the keys of the block that the row lists
/// l = l · 2^(m − m') + Σ p               o = o · 2^(m − m') + Σ p · v
/// </code>
/// and at the end output = o / l, lse = (m + log2 l) · ln 2. Products and sums go tile by tile: all rows of the block visit the keys of one
/// tile (32 KiB of rows) before those of the next, so that rows listed are read from the first-level cache, where one row after the other
/// would read all but a few from the second. Only listed keys are read.
/// Parallel scheme: keys and values of a batch element are packed first, by all threads; then threads claim blocks of rows. A row is
/// computed by one thread in the order of its list, so that the bits do not depend on timing.
/// Workspace: numKvHeads · kvLength · (headDim + valueHeadDim) floats; 256 · (headDim + valueHeadDim + listed keys of a block) a thread.
/// Cost: 2 · pairs · (headDim + valueHeadDim) FLOPs; a block of rows reads keys and values from the third-level cache at the most once.
/// </summary>
public sealed unsafe class SparseAttentionForward<TSimd, TVector>()
    : CpuKernel<SparseAttentionProblem>($"sparse-attention-forward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int MaxBlockM = 256;
    private const int MinBlockM = 16;
    private const int TilesOfBlock = 4;
    private const int MaxPrefetch = 128; // floats
    private const float Log2E = 1.44269504f;
    private const double Ln2 = 0.69314718055994531;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseAttentionProblem problem, int threads)
    {
        var plan = new Plan(problem, threads);
        return checked((plan.SharedFloats + threads * plan.ThreadFloats) * sizeof(float));
    }

    /// <inheritdoc/>
    public override void Run(in SparseAttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Call = new SparseAttentionCall(problem, operands),
            Plan = new Plan(problem, workers.Count),
            Workspace = (float*)workspace,
        };
        for (body.Batch = 0; body.Batch < problem.BatchSize; body.Batch++)
        {
            (body.IsPacked, body.Claimed) = (false, 0);
            workers.Run(ref body);
            body.IsPacked = true;
            workers.Run(ref body);
        }
    }

    // What all threads share, then where each thread's buffers lie in its part, in floats.
    private readonly struct Plan
    {
        public readonly long Values, SharedFloats, QueryRows, Sums, Scores, ThreadFloats;
        public readonly int KeyWidth, ValueWidth, BlockM, TileKeys, ScoreStride;

        public Plan(in SparseAttentionProblem problem, int threads)
        {
            KeyWidth = PackedRows<TSimd, TVector>.Width(problem.HeadDim);
            ValueWidth = PackedRows<TSimd, TVector>.Width(problem.ValueHeadDim);
            BlockM = (int)Math.Clamp((long)problem.NumHeads * problem.QueryLength / (4L * threads), MinBlockM, MaxBlockM);
            TileKeys = ListedTiles.Keys(problem, Math.Max(KeyWidth, ValueWidth));
            ScoreStride = ListedTiles.Stride(problem, (long)TilesOfBlock * TileKeys);
            Values = checked((long)problem.NumKvHeads * problem.KvLength * KeyWidth);
            SharedFloats = checked(Values + (long)problem.NumKvHeads * problem.KvLength * ValueWidth);
            QueryRows = 0;
            Sums = (long)BlockM * KeyWidth;
            Scores = Sums + (long)BlockM * ValueWidth;
            ThreadFloats = Scores + (long)BlockM * ScoreStride;
        }
    }

    private struct Body : IParallelBody
    {
        public SparseAttentionCall Call;
        public Plan Plan;
        public float* Workspace;
        public int Batch;
        public bool IsPacked;
        public long Claimed;

        public void Execute(int worker, int workers)
        {
            if (!IsPacked)
            {
                PackedRows<TSimd, TVector>.Pack(Call.Key, Batch, Workspace, worker, workers);
                PackedRows<TSimd, TVector>.Pack(Call.Value, Batch, Workspace + Plan.Values, worker, workers);
                return;
            }
            int blocks = (int)(((long)Call.Problem.QueryLength + Plan.BlockM - 1) / Plan.BlockM);
            long units = (long)blocks * Call.Problem.NumHeads;
            float* workspace = Workspace + Plan.SharedFloats + worker * Plan.ThreadFloats;
            for (long unit = Interlocked.Increment(ref Claimed) - 1; unit < units; unit = Interlocked.Increment(ref Claimed) - 1)
                RunBlock((int)(unit / blocks), (int)(unit % blocks) * Plan.BlockM, workspace);
        }

        private readonly void RunBlock(int head, int row0, float* workspace)
        {
            SparseAttentionProblem problem = Call.Problem;
            int rows = Math.Min(Plan.BlockM, problem.QueryLength - row0), kvLength = problem.KvLength;
            ListedRow* lists = stackalloc ListedRow[MaxBlockM];
            float* maxima = stackalloc float[MaxBlockM], totals = stackalloc float[MaxBlockM];
            float* sums = workspace + Plan.Sums;
            for (int r = 0; r < rows; r++)
            {
                lists[r] = new ListedRow
                {
                    Columns = Call.ColumnsOf(Batch, head, row0 + r),
                    Count = Call.CountOf(Batch, head, row0 + r),
                };
                lists[r].PrefetchNext();
                float* query = workspace + Plan.QueryRows + (long)r * Plan.KeyWidth;
                PackedRows<TSimd, TVector>.Load(Call.QueryRow(Batch, head, row0 + r), Call.Query.Type, problem.HeadDim, query, Plan.KeyWidth);
                AttentionRow<TSimd, TVector>.Scale(query, Plan.KeyWidth, problem.Scale * Log2E);
                (maxima[r], totals[r]) = (float.NegativeInfinity, 0f);
            }
            new Span<float>(sums, rows * Plan.ValueWidth).Clear();
            long head0 = (long)(head / problem.GroupSize) * kvLength;
            float* keys = Workspace + head0 * Plan.KeyWidth, values = Workspace + Plan.Values + head0 * Plan.ValueWidth;
            for (int key0 = ListedRow.FirstKey(lists, rows, kvLength); key0 < kvLength; key0 = ListedRow.FirstKey(lists, rows, kvLength))
            {
                Score(lists, rows, key0, keys, workspace);
                for (int r = 0; r < rows; r++)
                {
                    float* scores = workspace + Plan.Scores + (long)r * Plan.ScoreStride;
                    if (lists[r].Length > 0)
                        ToWeights(scores, lists[r].Length, ref maxima[r], ref totals[r], sums + r * Plan.ValueWidth);
                    lists[r].Position = lists[r].Begin;
                }
                AddValues(lists, rows, key0, values, workspace);
            }
            for (int r = 0; r < rows; r++)
                Write(head, row0 + r, maxima[r], totals[r], sums + r * Plan.ValueWidth);
        }

        private readonly void Score(ListedRow* lists, int rows, long key0, float* keys, float* workspace)
        {
            for (int tile = 1; tile <= TilesOfBlock; tile++)
            {
                int keyEnd = (int)Math.Min(key0 + (long)tile * Plan.TileKeys, Call.Problem.KvLength);
                float* query = workspace + Plan.QueryRows, scores = workspace + Plan.Scores;
                long part = TilePart(rows, Plan.KeyWidth);
                float* next = keys + (long)keyEnd * Plan.KeyWidth;
                for (int r = 0; r < rows; r++, query += Plan.KeyWidth, scores += Plan.ScoreStride, next += part)
                {
                    Prefetch(next, part);
                    ref ListedRow list = ref lists[r];
                    int from = list.Position, to = ListedRows<TSimd, TVector>.Next(list.Columns, list.Count, from, keyEnd);
                    if (from == to)
                        continue;
                    ListedRows<TSimd, TVector>.Dots(query, keys, Plan.KeyWidth, list.Columns + from, to - from, scores + (from - list.Begin));
                    list.Position = to;
                    list.PrefetchNext();
                }
            }
        }

        private readonly void ToWeights(float* scores, int count, ref float maximum, ref float total, float* sums)
        {
            if (Call.Problem.LogitSoftCap > 0)
                SoftCap<TSimd, TVector>.Apply(scores, count, Call.Problem.LogitSoftCap);
            AttentionRow<TSimd, TVector>.Raise(scores, count, ref maximum, ref total, sums, Plan.ValueWidth);
            total += Softmax<TSimd, TVector>.Exp2InPlace(scores, count, AttentionRow<TSimd, TVector>.Shift(maximum));
        }

        private readonly void AddValues(ListedRow* lists, int rows, long key0, float* values, float* workspace)
        {
            for (int tile = 1; tile <= TilesOfBlock; tile++)
            {
                int keyEnd = (int)Math.Min(key0 + (long)tile * Plan.TileKeys, Call.Problem.KvLength);
                float* sums = workspace + Plan.Sums, weights = workspace + Plan.Scores;
                long part = TilePart(rows, Plan.ValueWidth);
                float* next = values + (long)keyEnd * Plan.ValueWidth;
                for (int r = 0; r < rows; r++, sums += Plan.ValueWidth, weights += Plan.ScoreStride, next += part)
                {
                    Prefetch(next, part);
                    ref ListedRow list = ref lists[r];
                    int from = list.Position, to = ListedRows<TSimd, TVector>.Next(list.Columns, list.Count, from, keyEnd);
                    if (from != to)
                    {
                        ListedRows<TSimd, TVector>.AddListed(
                            weights + (from - list.Begin), values, Plan.ValueWidth, list.Columns + from, to - from, sums);
                    }
                    list.Position = to;
                    if (tile == TilesOfBlock)
                        list.Begin = to;
                }
            }
        }

        // Each row asks for its share of the next tile.
        private readonly long TilePart(int rows, int width) => Math.Min((long)Plan.TileKeys * width / rows, MaxPrefetch);

        private static void Prefetch(float* address, long count)
        {
            for (long i = 0; i < count; i += 16)
                Vectors.PrefetchFar(address + i);
        }

        private readonly void Write(int head, int row, float maximum, float total, float* sums)
        {
            AttentionRow<TSimd, TVector>.Scale(sums, Plan.ValueWidth, total == 0f ? 0f : 1f / total);
            Rows<TSimd, TVector>.Narrow(sums, Call.Problem.ValueHeadDim, Call.OutputRow(Batch, head, row), Call.Output.Type);
            if (Call.Lse.IsPresent)
                *Call.LseOf(Batch, head, row) = total == 0f ? float.NegativeInfinity : (float)((maximum + Math.Log2(total)) * Ln2);
        }
    }
}
