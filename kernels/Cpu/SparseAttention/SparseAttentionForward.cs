using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Attention over lists of keys: for a block of up to 256 query rows of a head, and one tile of keys after another,
/// <code>
/// s = cap((scale · log2 e · q) · k)      m' = max(m, max s)      p = 2^(s − m')      over the keys of the tile that the row lists
/// l = l · 2^(m − m') + Σ p               o = o · 2^(m − m') + Σ p · v
/// </code>
/// and at the end output = o / l, lse = (m + log2 l) · ln 2. The lists of the block are sorted by tiles first
/// (<see cref="ListedBlock{TIndex}"/>), so that each step goes through groups of sixteen keys of all rows, on keys or values that stay in the
/// first-level cache. Only listed keys are read. A row's maximum is raised when a group has a score more than 2^8 times as much.
/// Parallel scheme: keys and values of a batch element are packed first, by all threads; then threads claim blocks of rows. A row is
/// computed by one thread, group by group in the order of its list, so that the bits depend neither on timing nor on how lists are cut.
/// Workspace: numKvHeads · kvLength · (headDim + valueHeadDim) floats; for a thread 256 · (headDim + valueHeadDim) floats and the sorted
/// lists of a block, of at most 8192 keys.
/// Cost: 2 · pairs · (headDim + valueHeadDim) FLOPs; a block of rows reads keys and values from the third-level cache at the most once.
/// </summary>
public sealed unsafe class SparseAttentionForward<TSimd, TVector>()
    : CpuKernel<SparseAttentionProblem>($"sparse-attention-forward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int MaxBlockM = 256;
    private const int MinBlockM = 16;
    private const int GroupSize = ListedGroups<int>.Size;
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
        public readonly ListedTiles Tiles;
        public readonly long Values, SharedFloats, QueryRows, Sums, Totals, Scores, Lists, ThreadFloats;
        public readonly int KeyWidth, ValueWidth, BlockM;

        public Plan(in SparseAttentionProblem problem, int threads)
        {
            KeyWidth = Rows<TSimd, TVector>.Padded(problem.HeadDim);
            ValueWidth = Rows<TSimd, TVector>.Padded(problem.ValueHeadDim);
            BlockM = (int)Math.Clamp((long)problem.NumHeads * problem.QueryLength / (4L * threads), MinBlockM, MaxBlockM);
            Tiles = new ListedTiles(problem, Math.Max(KeyWidth, ValueWidth), BlockM);
            Values = checked((long)problem.NumKvHeads * problem.KvLength * KeyWidth);
            SharedFloats = checked(Values + (long)problem.NumKvHeads * problem.KvLength * ValueWidth + 15) / 16 * 16;
            QueryRows = 0;
            Sums = (long)BlockM * KeyWidth;
            Totals = Sums + (long)BlockM * ValueWidth;
            Scores = (Totals + (long)BlockM * TSimd.Width + 15) / 16 * 16;
            Lists = checked(Scores + (Tiles.TileGroups + 1) * GroupSize);
            ThreadFloats = checked(Lists + Tiles.Bytes / sizeof(float));
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
            {
                if (Call.Problem.ColumnType == DataType.UInt16)
                    RunBlock<ushort>((int)(unit / blocks), (int)(unit % blocks) * Plan.BlockM, workspace);
                else
                    RunBlock<int>((int)(unit / blocks), (int)(unit % blocks) * Plan.BlockM, workspace);
            }
        }

        private readonly void RunBlock<TIndex>(int head, int row0, float* workspace) where TIndex : unmanaged
        {
            SparseAttentionProblem problem = Call.Problem;
            int rows = Math.Min(Plan.BlockM, problem.QueryLength - row0);
            ListedRow<TIndex>* lists = stackalloc ListedRow<TIndex>[MaxBlockM];
            float* maxima = stackalloc float[MaxBlockM];
            float* sums = workspace + Plan.Sums, totals = workspace + Plan.Totals, scores = workspace + Plan.Scores;
            for (int r = 0; r < rows; r++)
            {
                lists[r] = Call.ListOf<TIndex>(Batch, head, row0 + r);
                float* query = workspace + Plan.QueryRows + (long)r * Plan.KeyWidth;
                PackedRows<TSimd, TVector>.Load(Call.QueryRow(Batch, head, row0 + r), Call.Query.Type, problem.HeadDim, query, Plan.KeyWidth);
                AttentionRow<TSimd, TVector>.Scale(query, Plan.KeyWidth, problem.Scale * Log2E);
                maxima[r] = float.MinValue; // below every score that counts
            }
            new Span<float>(sums, rows * Plan.ValueWidth).Clear();
            new Span<float>(totals, rows * TSimd.Width).Clear();
            long head0 = (long)(head / problem.GroupSize) * problem.KvLength;
            float* keys = Workspace + head0 * Plan.KeyWidth, values = Workspace + Plan.Values + head0 * Plan.ValueWidth;
            var block = new ListedBlock<TIndex>(Plan.Tiles, workspace + Plan.Lists, lists, rows);
            while (block.TakeSegment())
            {
                for (int tile = 0; tile < block.TileCount; tile++)
                {
                    ListedGroups<TIndex> groups = block[tile];
                    if (groups.Count == 0)
                        continue;
                    ListedRows<TSimd, TVector, TIndex>.Dots(groups, workspace + Plan.QueryRows, keys, Plan.KeyWidth, scores);
                    if (problem.LogitSoftCap > 0)
                        SoftCap<TSimd, TVector>.Apply(scores, groups.Count * GroupSize, problem.LogitSoftCap);
                    ToWeights(groups, scores, maxima, totals, sums, Plan.ValueWidth);
                    ListedRows<TSimd, TVector, TIndex>.AddListed(groups, scores, values, Plan.ValueWidth, sums);
                }
            }
            for (int r = 0; r < rows; r++)
                Write(head, row0 + r, maxima[r], TSimd.Sum(TSimd.Load(totals + (long)r * TSimd.Width)), sums + (long)r * Plan.ValueWidth);
        }

        private readonly void Write(int head, int row, float maximum, float total, float* sums)
        {
            AttentionRow<TSimd, TVector>.Scale(sums, Plan.ValueWidth, total == 0f ? 0f : 1f / total);
            Rows<TSimd, TVector>.Narrow(sums, Call.Problem.ValueHeadDim, Call.OutputRow(Batch, head, row), Call.Output.Type);
            if (Call.Lse.IsPresent)
                *Call.LseOf(Batch, head, row) = total == 0f ? float.NegativeInfinity : (float)((maximum + Math.Log2(total)) * Ln2);
        }
    }

    // From scores to weights; each row has a vector of totals.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void ToWeights<TIndex>(
        ListedGroups<TIndex> groups, float* scores, float* maxima, float* totals, float* sums, int valueWidth) where TIndex : unmanaged
    {
        int w = TSimd.Width;
        uint all = uint.MaxValue >> (32 - w);
        TVector slack = TSimd.Broadcast(AttentionRow<TSimd, TVector>.Slack);
        for (int g = 0; g < groups.Count; g++, scores += GroupSize)
        {
            long row = groups.RowOf(g);
            if (groups.SizeOf(g) < GroupSize)
                new Span<float>(scores + groups.SizeOf(g), GroupSize - groups.SizeOf(g)).Fill(float.NegativeInfinity);
            TVector maximum = TSimd.Broadcast(maxima[row]), above = TSimd.Subtract(TSimd.Load(scores), maximum);
            for (int i = w; i < GroupSize; i += w)
                above = TSimd.Max(above, TSimd.Subtract(TSimd.Load(scores + i), maximum));
            if (TSimd.EqualMask(TSimd.Max(above, slack), slack) != all)
            {
                float factor = Raise(scores, ref maxima[row]);
                maximum = TSimd.Broadcast(maxima[row]);
                AttentionRow<TSimd, TVector>.Scale(totals + row * w, w, factor);
                AttentionRow<TSimd, TVector>.Scale(sums + row * valueWidth, valueWidth, factor);
                for (int before = 1; before <= g && groups.RowOf(g - before) == row; before++) // weights that are not in the sums yet
                    AttentionRow<TSimd, TVector>.Scale(scores - before * GroupSize, GroupSize, factor);
            }
            TVector total = TSimd.Load(totals + row * w);
            for (int i = 0; i < GroupSize; i += w)
            {
                TVector p = TSimd.Exp2(TSimd.Subtract(TSimd.Load(scores + i), maximum));
                TSimd.Store(p, scores + i);
                total = TSimd.Add(total, p);
            }
            TSimd.Store(total, totals + row * w);
        }
    }

    // The largest score is the row's maximum from now on; what was computed with the one before must be multiplied by what is returned.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float Raise(float* scores, ref float maximum)
    {
        float before = maximum;
        maximum = Softmax<TSimd, TVector>.Max(scores, GroupSize);
        return MathF.Pow(2f, before - maximum);
    }
}
