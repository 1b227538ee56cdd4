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
/// A row is computed by one thread, group by group in the order of its list, so that the bits depend neither on timing nor on how lists are cut.
/// Workspace: numKvHeads · kvLength · (headDim + valueHeadDim) floats; for a thread 256 · (headDim + valueHeadDim) floats and the sorted
/// lists of a block, of at most 8192 keys.
/// Cost: 2 · pairs · (headDim + valueHeadDim) FLOPs; a block of rows reads keys and values from the third-level cache at the most once.
/// </summary>
internal readonly unsafe struct ListedAttention<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>The most rows of a block.</summary>
    public const int MaxBlockM = 256;

    private const int MinBlockM = 16;
    private const int GroupSize = ListedGroups<int>.Size;
    private const float Log2E = 1.44269504f;
    private const double Ln2 = 0.69314718055994531;

    private readonly SparseAttentionCall _call;
    private readonly Plan _plan;
    private readonly float* _workspace;

    /// <summary>Attention of one call.</summary>
    /// <param name="call">The rows; their lists are not looked at.</param>
    /// <param name="workspace"><see cref="GetWorkspaceBytes"/>, aligned to vectors.</param>
    /// <param name="threads">How many threads there are.</param>
    public ListedAttention(in SparseAttentionCall call, void* workspace, int threads)
    {
        _call = call;
        _plan = new Plan(call.Problem, threads);
        _workspace = (float*)workspace;
    }

    /// <summary>Rows of a block: fewer where there are few, so that all threads have some.</summary>
    public int BlockM => _plan.BlockM;

    /// <summary>Bytes of the workspace, a multiple of 64.</summary>
    public static long GetWorkspaceBytes(in SparseAttentionProblem problem, int threads)
    {
        var plan = new Plan(problem, threads);
        return checked((plan.SharedFloats + threads * plan.ThreadFloats) * sizeof(float));
    }

    /// <summary>Packs this worker's part of the keys and values of a batch element, before any block of it.</summary>
    public void Pack(int batch, int worker, int workers)
    {
        PackedRows<TSimd, TVector>.Pack(_call.Key, batch, _workspace, worker, workers);
        PackedRows<TSimd, TVector>.Pack(_call.Value, batch, _workspace + _plan.Values, worker, workers);
    }

    /// <summary>Computes a block of rows of a query head.</summary>
    /// <param name="batch">Which sequence.</param>
    /// <param name="head">Which query head.</param>
    /// <param name="row0">The first row.</param>
    /// <param name="rows">How many, up to <see cref="BlockM"/>.</param>
    /// <param name="lists">The list of each row, not worked off; it is afterwards.</param>
    /// <param name="worker">The calling thread.</param>
    public void Attend<TIndex>(int batch, int head, int row0, int rows, ListedRow<TIndex>* lists, int worker) where TIndex : unmanaged
    {
        SparseAttentionProblem problem = _call.Problem;
        float* workspace = _workspace + _plan.SharedFloats + worker * _plan.ThreadFloats;
        float* maxima = stackalloc float[MaxBlockM];
        float* sums = workspace + _plan.Sums, totals = workspace + _plan.Totals, scores = workspace + _plan.Scores;
        for (int r = 0; r < rows; r++)
        {
            float* query = workspace + _plan.QueryRows + (long)r * _plan.KeyWidth;
            PackedRows<TSimd, TVector>.Load(_call.QueryRow(batch, head, row0 + r), _call.Query.Type, problem.HeadDim, query, _plan.KeyWidth);
            AttentionRow<TSimd, TVector>.Scale(query, _plan.KeyWidth, problem.Scale * Log2E);
            maxima[r] = float.MinValue; // below every score that counts
        }
        new Span<float>(sums, rows * _plan.ValueWidth).Clear();
        new Span<float>(totals, rows * TSimd.Width).Clear();
        int kvHead = head / problem.GroupSize;
        float* keys = PackedRows<TSimd, TVector>.Head(_call.Key, batch, kvHead, _workspace);
        float* values = PackedRows<TSimd, TVector>.Head(_call.Value, batch, kvHead, _workspace + _plan.Values);
        var block = new ListedBlock<TIndex>(_plan.Tiles, workspace + _plan.Lists, lists, rows);
        while (block.TakeSegment())
        {
            for (int tile = 0; tile < block.TileCount; tile++)
            {
                ListedGroups<TIndex> groups = block[tile];
                if (groups.Count == 0)
                    continue;
                ListedRows<TSimd, TVector, TIndex>.Dots(groups, workspace + _plan.QueryRows, keys, _plan.KeyWidth, scores);
                if (problem.LogitSoftCap > 0)
                    SoftCap<TSimd, TVector>.Apply(scores, groups.Count * GroupSize, problem.LogitSoftCap);
                ToWeights(groups, scores, maxima, totals, sums, _plan.ValueWidth);
                ListedRows<TSimd, TVector, TIndex>.AddListed(groups, scores, values, _plan.ValueWidth, sums);
            }
        }
        for (int r = 0; r < rows; r++)
            Write(batch, head, row0 + r, maxima[r], TSimd.Sum(TSimd.Load(totals + (long)r * TSimd.Width)), sums + (long)r * _plan.ValueWidth);
    }

    private void Write(int batch, int head, int row, float maximum, float total, float* sums)
    {
        AttentionRow<TSimd, TVector>.Scale(sums, _plan.ValueWidth, total == 0f ? 0f : 1f / total);
        Rows<TSimd, TVector>.Narrow(sums, _call.Problem.ValueHeadDim, _call.OutputRow(batch, head, row), _call.Output.Type);
        if (_call.Lse.IsPresent)
            *_call.LseOf(batch, head, row) = total == 0f ? float.NegativeInfinity : (float)((maximum + Math.Log2(total)) * Ln2);
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
}
