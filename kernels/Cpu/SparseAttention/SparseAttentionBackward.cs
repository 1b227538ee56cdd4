using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The gradients of attention over lists (symbols of <see cref="SparseAttentionBackwardProblem"/>): for a block of up to 256 query rows of
/// a head, and one tile of keys after another,
/// <code>
/// s = cap((scale · log2 e · q) · k)      p = 2^(s − lse · log2 e)      dS = p · (dO · v − δ) · slope of the cap
/// dQ += Σ dS · k                         dK_j += dS · q                dV_j += p · dO
/// </code>
/// over the keys of the tile that a row lists. The lists of the block are sorted by tiles first (<see cref="ListedBlock{TIndex}"/>); each of
/// the five products goes through the tile's groups of sixteen keys of all rows before the next, so that what it reads or adds to of keys and
/// values stays in the first-level cache. The lists need not be transposed: a row adds to the keys that it lists.
/// Parallel scheme: keys and values of a batch element are packed first, by all threads. A task is then one key/value head with all query
/// heads of its group; threads claim tasks as they become free, and each sums dK and dV of a task in a buffer of its own. Tasks that do not
/// come out even are shared: each thread takes every n-th block of rows, and the threads' sums are added in the order of the threads. The
/// same bits for the same number of threads.
/// Workspace: numKvHeads · kvLength · (headDim + valueHeadDim) floats; kvLength · (headDim + valueHeadDim), 256 ·
/// (2 · headDim + valueHeadDim) and the sorted lists of a block, of at most 8192 keys, a thread. Cost: pairs · (6 · headDim + 4 · valueHeadDim) FLOPs.
/// </summary>
public sealed unsafe class SparseAttentionBackward<TSimd, TVector>()
    : CpuKernel<SparseAttentionBackwardProblem>($"sparse-attention-backward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockM = 256;
    private const int GroupSize = ListedGroups<int>.Size;
    private const float Log2E = 1.44269504f;
    private const float Ln2 = 0.693147181f;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseAttentionBackwardProblem problem, int threads)
    {
        var plan = new Plan(problem.Forward);
        return checked((plan.SharedFloats + threads * plan.ThreadFloats) * sizeof(float));
    }

    /// <inheritdoc/>
    public override void Run(in SparseAttentionBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Call = new SparseAttentionCall(problem.Forward, operands),
            Plan = new Plan(problem.Forward),
            GradOutput = operands[SparseAttentionBackwardProblem.GradOutput],
            GradLse = operands[SparseAttentionBackwardProblem.GradLse],
            GradQuery = operands[SparseAttentionBackwardProblem.GradQuery],
            GradKey = operands[SparseAttentionBackwardProblem.GradKey],
            GradValue = operands[SparseAttentionBackwardProblem.GradValue],
            Workspace = (float*)workspace,
        };
        int tasks = problem.Forward.NumKvHeads, whole = tasks / workers.Count * workers.Count;
        for (body.Batch = 0; body.Batch < problem.Forward.BatchSize; body.Batch++)
        {
            body.Phase = Phase.Pack;
            workers.Run(ref body);
            (body.Phase, body.Task, body.Claimed) = (Phase.WholeTasks, whole, 0);
            workers.Run(ref body);
            for (; body.Task < tasks; body.Task++)
            {
                body.Phase = Phase.SharedTask;
                workers.Run(ref body);
                body.Phase = Phase.Merge;
                workers.Run(ref body);
            }
        }
    }

    private enum Phase
    {
        Pack,
        WholeTasks,
        SharedTask,
        Merge,
    }

    // What all threads share, then where each thread's buffers lie in its part, in floats.
    private readonly struct Plan
    {
        public readonly ListedTiles Tiles;
        public readonly long Values, SharedFloats, GradKeys, GradValues, Queries, GradOutputs, GradQueries, P, GradScores, Slopes, Lists, ThreadFloats;
        public readonly int KeyWidth, ValueWidth;

        public Plan(in SparseAttentionProblem problem)
        {
            KeyWidth = Rows<TSimd, TVector>.Padded(problem.HeadDim);
            ValueWidth = Rows<TSimd, TVector>.Padded(problem.ValueHeadDim);
            Tiles = new ListedTiles(problem, Math.Max(KeyWidth, ValueWidth), BlockM);
            Values = checked((long)problem.NumKvHeads * problem.KvLength * KeyWidth);
            SharedFloats = checked(Values + (long)problem.NumKvHeads * problem.KvLength * ValueWidth + 15) / 16 * 16;
            GradKeys = 0;
            GradValues = (long)problem.KvLength * KeyWidth;
            Queries = GradValues + (long)problem.KvLength * ValueWidth;
            GradOutputs = Queries + BlockM * KeyWidth;
            GradQueries = GradOutputs + BlockM * ValueWidth;
            P = (GradQueries + BlockM * KeyWidth + 15) / 16 * 16;
            long tile = checked((Tiles.TileGroups + 1) * GroupSize); // products write a little past the last group
            GradScores = P + tile;
            Slopes = GradScores + tile;
            Lists = problem.LogitSoftCap > 0 ? Slopes + tile : Slopes;
            ThreadFloats = checked(Lists + Tiles.Bytes / sizeof(float));
        }
    }

    private struct Body : IParallelBody
    {
        public SparseAttentionCall Call;
        public Plan Plan;
        public RawView GradOutput, GradLse, GradQuery, GradKey, GradValue;
        public float* Workspace;
        public Phase Phase;
        public int Batch, Task; // the shared task; whole ones come before it
        public int Claimed;

        public void Execute(int worker, int workers)
        {
            switch (Phase)
            {
                case Phase.Pack:
                    PackedRows<TSimd, TVector>.Pack(Call.Key, Batch, Workspace, worker, workers);
                    PackedRows<TSimd, TVector>.Pack(Call.Value, Batch, Workspace + Plan.Values, worker, workers);
                    break;
                case Phase.WholeTasks:
                    for (int task = Interlocked.Increment(ref Claimed) - 1; task < Task; task = Interlocked.Increment(ref Claimed) - 1)
                    {
                        RunTask(task, 0, 1, ThreadBuffer(worker));
                        WriteKeys(task, 0, Call.Problem.KvLength, ThreadBuffer(worker));
                    }
                    break;
                case Phase.SharedTask:
                    RunTask(Task, worker, workers, ThreadBuffer(worker));
                    break;
                default:
                    Merge(worker, workers);
                    break;
            }
        }

        private readonly float* ThreadBuffer(int worker) => Workspace + Plan.SharedFloats + worker * Plan.ThreadFloats;

        private readonly bool NeedsGradScores => GradQuery.IsPresent || GradKey.IsPresent;

        // The blocks of rows of one key/value head's group that belong to `part`.
        private readonly void RunTask(int kvHead, int part, int parts, float* workspace)
        {
            for (long j = 0; j < Call.Problem.KvLength; j++)
            {
                new Span<float>(workspace + Plan.GradKeys + j * Plan.KeyWidth, Plan.KeyWidth).Clear();
                new Span<float>(workspace + Plan.GradValues + j * Plan.ValueWidth, Plan.ValueWidth).Clear();
            }
            int blocks = (int)(((long)Call.Problem.QueryLength + BlockM - 1) / BlockM);
            for (long unit = part; unit < (long)blocks * Call.Problem.GroupSize; unit += parts)
            {
                int head = kvHead * Call.Problem.GroupSize + (int)(unit / blocks), row = (int)(unit % blocks) * BlockM;
                if (Call.Problem.ColumnType == DataType.UInt16)
                    RunBlock<ushort>(kvHead, head, row, workspace);
                else
                    RunBlock<int>(kvHead, head, row, workspace);
            }
        }

        private readonly void RunBlock<TIndex>(int kvHead, int head, int row0, float* workspace) where TIndex : unmanaged
        {
            int rows = Math.Min(BlockM, Call.Problem.QueryLength - row0);
            ListedRow<TIndex>* lists = stackalloc ListedRow<TIndex>[BlockM];
            float* lse = stackalloc float[BlockM], delta = stackalloc float[BlockM];
            for (int r = 0; r < rows; r++)
            {
                (lse[r], delta[r]) = LoadRow(head, row0 + r, r, workspace);
                lists[r] = float.IsNegativeInfinity(lse[r]) ? default : Call.ListOf<TIndex>(Batch, head, row0 + r); // none where it saw nothing
            }
            float* keys = PackedRows<TSimd, TVector>.Head(Call.Key, Batch, kvHead, Workspace);
            float* values = PackedRows<TSimd, TVector>.Head(Call.Value, Batch, kvHead, Workspace + Plan.Values);
            float* p = workspace + Plan.P, gradScores = workspace + Plan.GradScores;
            var block = new ListedBlock<TIndex>(Plan.Tiles, workspace + Plan.Lists, lists, rows);
            while (block.TakeSegment())
            {
                for (int tile = 0; tile < block.TileCount; tile++)
                {
                    ListedGroups<TIndex> groups = block[tile];
                    if (groups.Count == 0)
                        continue;
                    GetWeights(groups, lse, keys, workspace);
                    if (NeedsGradScores)
                        GetGradScores(groups, delta, values, workspace);
                    if (GradQuery.IsPresent)
                        ListedRows<TSimd, TVector, TIndex>.AddListed(groups, gradScores, keys, Plan.KeyWidth, workspace + Plan.GradQueries);
                    if (GradKey.IsPresent)
                    {
                        ListedRows<TSimd, TVector, TIndex>.AddToListed(
                            groups, gradScores, workspace + Plan.Queries, Plan.KeyWidth, workspace + Plan.GradKeys);
                    }
                    if (GradValue.IsPresent)
                    {
                        ListedRows<TSimd, TVector, TIndex>.AddToListed(
                            groups, p, workspace + Plan.GradOutputs, Plan.ValueWidth, workspace + Plan.GradValues);
                    }
                }
            }
            for (int r = 0; GradQuery.IsPresent && r < rows; r++)
                Write(workspace + Plan.GradQueries + (long)r * Plan.KeyWidth, Plan.KeyWidth, Call.Problem.Scale, GradQuery, row0 + r, head);
        }

        // A row's query times scale · log2 e and its gradient; lse · log2 e and δ.
        private readonly (float Lse, float Delta) LoadRow(int head, int row, int r, float* workspace)
        {
            SparseAttentionProblem problem = Call.Problem;
            float* query = workspace + Plan.Queries + (long)r * Plan.KeyWidth, gradQuery = workspace + Plan.GradQueries + (long)r * Plan.KeyWidth;
            float* gradOutput = workspace + Plan.GradOutputs + (long)r * Plan.ValueWidth;
            float* output = stackalloc float[AttentionProblem.MaxHeadDim];
            PackedRows<TSimd, TVector>.Load(Call.QueryRow(Batch, head, row), Call.Query.Type, problem.HeadDim, query, Plan.KeyWidth);
            AttentionRow<TSimd, TVector>.Scale(query, Plan.KeyWidth, problem.Scale * Log2E);
            PackedRows<TSimd, TVector>.Load(
                GradOutput.Address(Batch, row, head), GradOutput.Type, problem.ValueHeadDim, gradOutput, Plan.ValueWidth);
            Rows<TSimd, TVector>.Widen(Call.OutputRow(Batch, head, row), Call.Output.Type, problem.ValueHeadDim, output);
            float delta = Rows<TSimd, TVector>.Dot(gradOutput, output, problem.ValueHeadDim), lse = *Call.LseOf(Batch, head, row);
            if (GradLse.IsPresent)
                delta -= *(float*)GradLse.Address(Batch, head, row);
            new Span<float>(gradQuery, Plan.KeyWidth).Clear();
            return (lse * Log2E, delta);
        }

        // p, and the cap's slopes.
        private readonly void GetWeights<TIndex>(in ListedGroups<TIndex> groups, float* lse, float* keys, float* workspace) where TIndex : unmanaged
        {
            float* p = workspace + Plan.P;
            ListedRows<TSimd, TVector, TIndex>.Dots(groups, workspace + Plan.Queries, keys, Plan.KeyWidth, p);
            if (Call.Problem.LogitSoftCap > 0)
            {
                SoftCap<TSimd, TVector>.GetSlopes(p, groups.Count * GroupSize, Call.Problem.LogitSoftCap, workspace + Plan.Slopes);
                SoftCap<TSimd, TVector>.Apply(p, groups.Count * GroupSize, Call.Problem.LogitSoftCap);
            }
            ToWeights(groups, p, lse);
        }

        private readonly void GetGradScores<TIndex>(in ListedGroups<TIndex> groups, float* delta, float* values, float* workspace)
            where TIndex : unmanaged
        {
            float* gradScores = workspace + Plan.GradScores;
            ListedRows<TSimd, TVector, TIndex>.Dots(groups, workspace + Plan.GradOutputs, values, Plan.ValueWidth, gradScores);
            ToGradScores(groups, workspace + Plan.P, Call.Problem.LogitSoftCap > 0 ? workspace + Plan.Slopes : null, gradScores, delta);
        }

        // Adds up the threads' sums of the keys that belong to `worker`.
        private readonly void Merge(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Call.Problem.KvLength, worker, workers);
            for (int other = 1; other < workers; other++)
            {
                for (long j = first; j < last; j++)
                {
                    Rows<TSimd, TVector>.Add(
                        ThreadBuffer(other) + Plan.GradKeys + j * Plan.KeyWidth, Plan.KeyWidth, ThreadBuffer(0) + Plan.GradKeys + j * Plan.KeyWidth);
                    Rows<TSimd, TVector>.Add(
                        ThreadBuffer(other) + Plan.GradValues + j * Plan.ValueWidth, Plan.ValueWidth,
                        ThreadBuffer(0) + Plan.GradValues + j * Plan.ValueWidth);
                }
            }
            WriteKeys(Task, first, last, ThreadBuffer(0));
        }

        private readonly void WriteKeys(int kvHead, long first, long last, float* workspace)
        {
            for (long j = first; j < last; j++)
            {
                if (GradKey.IsPresent)
                    Write(workspace + Plan.GradKeys + j * Plan.KeyWidth, Plan.KeyWidth, Ln2, GradKey, j, kvHead); // packed rows carry log2 e
                if (GradValue.IsPresent)
                    Write(workspace + Plan.GradValues + j * Plan.ValueWidth, Plan.ValueWidth, 1f, GradValue, j, kvHead);
            }
        }

        private readonly void Write(float* row, int width, float factor, in RawView target, long token, int head)
        {
            AttentionRow<TSimd, TVector>.Scale(row, width, factor);
            Rows<TSimd, TVector>.Narrow(row, target.Layout[3], target.Address(Batch, token, head), target.Type);
        }
    }

    // p = 2^(s − lse).
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void ToWeights<TIndex>(ListedGroups<TIndex> groups, float* scores, float* lse) where TIndex : unmanaged
    {
        for (int g = 0; g < groups.Count; g++, scores += GroupSize)
        {
            TVector shift = TSimd.Broadcast(lse[groups.RowOf(g)]);
            for (int i = 0; i < GroupSize; i += TSimd.Width)
                TSimd.Store(TSimd.Exp2(TSimd.Subtract(TSimd.Load(scores + i), shift)), scores + i);
        }
    }

    // dS = p · (dP − δ), times the slopes where there are any.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void ToGradScores<TIndex>(ListedGroups<TIndex> groups, float* p, float* slopes, float* gradScores, float* delta)
        where TIndex : unmanaged
    {
        for (int g = 0; g < groups.Count; g++)
        {
            TVector d = TSimd.Broadcast(delta[groups.RowOf(g)]);
            for (long i = (long)g * GroupSize; i < (g + 1L) * GroupSize; i += TSimd.Width)
            {
                TVector gradScore = TSimd.Multiply(TSimd.Load(p + i), TSimd.Subtract(TSimd.Load(gradScores + i), d));
                TSimd.Store(slopes != null ? TSimd.Multiply(gradScore, TSimd.Load(slopes + i)) : gradScore, gradScores + i);
            }
        }
    }
}
