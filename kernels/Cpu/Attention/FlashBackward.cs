using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// The gradients of attention in one pass (Dao 2023, arXiv:2307.08691, algorithm 2), with the symbols of
/// <see cref="AttentionBackwardProblem"/>: for a block of 192 keys, and for it one block of 96 query rows after another,
/// <code>
/// s = (scale · log2 e · q) · kᵀ      dP = dO · vᵀ       p = 2^(s − lse · log2 e)       dS = p · (dP − δ)
/// dQ += dS · k                       dV += pᵀ · dO      dK += dSᵀ · q
/// </code>
/// Five products and no more: each pair of blocks is visited once. p and dS stay in the second-level cache; dV and dK are
/// summed there too and written when their block is done; dQ is a buffer of floats for all rows.
/// Parallel scheme: a task is one (sequence, key/value head) with all query heads of its group. Threads claim tasks as they
/// become free; those that do not come out even are shared: each thread takes some query blocks, dealt so that causal work is
/// even, and the threads' dK and dV are added in the order of the threads. The same bits for the same number of threads.
/// Workspace per thread: group · queryLength · (2 · headDim + valueHeadDim) and kvLength · (2 · headDim + valueHeadDim)
/// floats, kvLength · (headDim + valueHeadDim) more where tasks are shared, and the bias's gradient where the bias repeats.
/// Cost: rows · visible keys · (6 · headDim + 4 · valueHeadDim) FLOPs.
/// </summary>
public sealed unsafe class FlashBackward<TSimd, TVector>() : CpuKernel<AttentionBackwardProblem>($"attention-backward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockM = 96;
    private const int BlockN = 192;
    private const int TileRows = MatrixTile<TSimd, TVector>.Rows;
    private const int KeyTiles = (BlockN + TileRows - 1) / TileRows;
    private const float Log2E = 1.44269504f;
    private const float Ln2 = 0.693147181f;

    // Floats from a row of p or dS to the next: an odd number of cache lines, so that a column of them does not fall into a
    // few cache sets.
    private const int TileStride = BlockN + 16;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    private static int Columns => MatrixTile<TSimd, TVector>.Columns;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionBackwardProblem problem, int threads) =>
        checked(threads * new Plan(problem, threads).Floats * sizeof(float));

    /// <inheritdoc/>
    public override void Run(in AttentionBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem.Forward,
            Call = new AttentionCall(problem.Forward, operands),
            Plan = new Plan(problem, workers.Count),
            GradOutput = operands[AttentionBackwardProblem.GradOutput],
            GradLse = operands[AttentionBackwardProblem.GradLse],
            GradQuery = operands[AttentionBackwardProblem.GradQuery],
            GradKey = operands[AttentionBackwardProblem.GradKey],
            GradValue = operands[AttentionBackwardProblem.GradValue],
            GradBias = operands[AttentionBackwardProblem.GradBias],
            GradSinks = operands[AttentionBackwardProblem.GradSinkLogits],
            GradSlopes = operands[AttentionBackwardProblem.GradAlibiSlopes],
            Workspace = (float*)workspace,
        };
        long tasks = (long)problem.Forward.NumSequences * problem.Forward.NumKvHeads;
        body.Phase = Phase.WholeTasks;
        body.Task = tasks / workers.Count * workers.Count;
        workers.Run(ref body);
        for (; body.Task < tasks; body.Task++)
        {
            body.Phase = Phase.SharedTask;
            workers.Run(ref body);
            body.Phase = Phase.MergeKeys;
            workers.Run(ref body);
        }
        body.Phase = Phase.MergeHeads;
        workers.Run(ref body);
    }

    private enum Phase
    {
        WholeTasks,
        SharedTask,
        MergeKeys,
        MergeHeads,
    }

    // Where each thread's buffers lie in its part of the workspace, in floats. Rows are padded to whole vectors.
    private readonly struct Plan
    {
        public readonly long KeyColumns, ValueColumns, Keys, Queries, GradOutputs, GradQueries, Lse, Delta, Ranges, RowFlags, KeyFlags;
        public readonly long GradKeys, GradValues, P, GradScores, CapFactors, Row, BlockRanges, KeyRows, SharedKeys, SharedValues, Bias, Slopes, Sinks;
        public readonly long Floats;
        public readonly int KeyWidth, ValueWidth, KeyStride, ValueStride;
        public readonly bool IsBiasOwnedByRow;

        public Plan(in AttentionBackwardProblem backward, int threads)
        {
            AttentionProblem problem = backward.Forward;
            long paddedKeys = ((long)problem.KvLength + Columns - 1) / Columns * Columns;
            long rows = checked((long)problem.QueryLength * problem.GroupSize);
            (KeyWidth, ValueWidth) = (Rows<TSimd, TVector>.Padded(problem.HeadDim), Rows<TSimd, TVector>.Padded(problem.ValueHeadDim));
            (KeyStride, ValueStride) = (ToOddLines(problem.HeadDim), ToOddLines(problem.ValueHeadDim));
            long at = 0;
            KeyColumns = Take(ref at, checked(paddedKeys * problem.HeadDim));
            ValueColumns = Take(ref at, checked(paddedKeys * problem.ValueHeadDim));
            Keys = Take(ref at, checked(paddedKeys * KeyWidth));
            Queries = Take(ref at, checked(rows * KeyStride));
            GradOutputs = Take(ref at, checked(rows * ValueStride));
            GradQueries = Take(ref at, checked(rows * KeyStride));
            Lse = Take(ref at, rows);
            Delta = Take(ref at, rows);
            Ranges = Take(ref at, checked(rows * 3));
            RowFlags = Take(ref at, rows / BlockM + problem.GroupSize);
            KeyFlags = Take(ref at, problem.KvLength / BlockN + 1);
            GradKeys = Take(ref at, BlockN * KeyStride);
            GradValues = Take(ref at, BlockN * ValueStride);
            P = Take(ref at, BlockM * TileStride);
            GradScores = Take(ref at, BlockM * TileStride);
            CapFactors = Take(ref at, TileStride);
            Row = Take(ref at, (long)Columns * AttentionProblem.MaxHeadDim);
            BlockRanges = Take(ref at, 4 * BlockM);
            KeyRows = Take(ref at, 2 * KeyTiles);
            bool isShared = (long)problem.NumSequences * problem.NumKvHeads % threads != 0;
            SharedKeys = Take(ref at, isShared ? checked((long)problem.KvLength * KeyStride) : 0);
            SharedValues = Take(ref at, isShared ? checked((long)problem.KvLength * ValueStride) : 0);
            TensorLayout bias = backward.GetOperand(AttentionBackwardProblem.GradBias).Shape;
            IsBiasOwnedByRow = bias.Rank == 4 && bias[0] == problem.BatchSize && bias[1] == problem.NumHeads
                && bias[2] == problem.QueryLength && bias[3] == problem.KvLength;
            Bias = Take(ref at, IsBiasOwnedByRow ? 0 : bias.Count);
            Slopes = Take(ref at, problem.Has(AttentionOperands.AlibiSlopes) ? checked(2L * problem.NumSequences * problem.NumHeads) : 0);
            Sinks = Take(ref at, problem.Has(AttentionOperands.SinkLogits) ? 2L * problem.NumHeads : 0);
            Floats = at;
        }

        private static int ToOddLines(int count) => ((count + 15) / 16 | 1) * 16;

        private static long Take(ref long at, long floats)
        {
            long begin = at;
            at = checked(at + (floats + 15) / 16 * 16);
            return begin;
        }
    }

    // One block of query rows of one head over one block of keys.
    private struct Block
    {
        public AttentionSequence Sequence;
        public ScoreTransform<TSimd, TVector> Transform;
        public int Head, Row0, Rows, Key0, Keys; // counted from the sequence's first row and key
        public long PackedRow; // the first row's number among the task's packed rows
        public bool IsFull; // every row sees every key
        public bool IsCareful; // something is hidden and something is not finite
    }

    private struct Body : IParallelBody
    {
        public AttentionProblem Problem;
        public AttentionCall Call;
        public Plan Plan;
        public RawView GradOutput, GradLse, GradQuery, GradKey, GradValue, GradBias, GradSinks, GradSlopes;
        public float* Workspace;
        public Phase Phase;
        public long Task; // the shared one; whole ones come before it
        public long ClaimedTasks;

        public void Execute(int worker, int workers)
        {
            float* workspace = Workspace + worker * Plan.Floats;
            switch (Phase)
            {
                case Phase.WholeTasks:
                    new Span<float>(workspace + Plan.Slopes, checked((int)(Plan.Floats - Plan.Slopes))).Clear();
                    Clear(workspace + Plan.Bias, Plan.Slopes - Plan.Bias);
                    for (long task = NextTask(worker - workers, workers); task < Task; task = NextTask(task, workers))
                        RunTask(task, 0, 1, workspace);
                    break;
                case Phase.SharedTask:
                    RunTask(Task, worker, workers, workspace);
                    break;
                case Phase.MergeKeys:
                    MergeKeys(worker, workers);
                    break;
                default:
                    MergeBias(worker, workers);
                    if (worker == 0)
                        MergeHeads(workers);
                    break;
            }
        }

        // Threads claim whole tasks as they become free, so that a slow core does less; but for gradients that each thread sums
        // over its tasks, whose bits would tell which thread did which.
        private long NextTask(long task, int workers) => GradSinks.IsPresent || (GradBias.IsPresent && !Plan.IsBiasOwnedByRow)
            ? task + workers
            : Interlocked.Increment(ref ClaimedTasks) - 1;

        private readonly bool NeedsGradScores => GradQuery.IsPresent || GradKey.IsPresent || GradBias.IsPresent || GradSlopes.IsPresent;

        private readonly AttentionSequence GetSequence(long task, out int kvHead)
        {
            kvHead = (int)(task % Problem.NumKvHeads);
            return Call.GetSequence((int)(task / Problem.NumKvHeads), kvHead);
        }

        // Does the query blocks of one key/value head that belong to `part`, dealt forwards and backwards in turn
        // (0 1 1 0 0 1 ...), since under a causal mask later blocks cost more.
        private readonly void RunTask(long task, int part, int parts, float* workspace)
        {
            AttentionSequence sequence = GetSequence(task, out int kvHead);
            int blocks = (sequence.QueryLength + BlockM - 1) / BlockM;
            PackKeysAndValues(sequence, kvHead, workspace);
            for (int unit = 0; unit < blocks * Problem.GroupSize; unit++)
            {
                if (IsOwned(unit, part, parts))
                    PackRows(sequence, kvHead * Problem.GroupSize + unit / blocks, unit / blocks, unit % blocks, unit, workspace);
            }
            for (int key0 = 0; key0 < sequence.KvLength; key0 += BlockN)
            {
                int keys = Math.Min(BlockN, sequence.KvLength - key0);
                new Span<float>(workspace + Plan.GradKeys, keys * Plan.KeyStride).Clear();
                new Span<float>(workspace + Plan.GradValues, keys * Plan.ValueStride).Clear();
                for (int unit = 0; unit < blocks * Problem.GroupSize; unit++)
                {
                    if (!IsOwned(unit, part, parts))
                        continue;
                    int row0 = unit % blocks * BlockM;
                    var block = new Block
                    {
                        Sequence = sequence,
                        Head = kvHead * Problem.GroupSize + unit / blocks,
                        Row0 = row0,
                        Rows = Math.Min(BlockM, sequence.QueryLength - row0),
                        Key0 = key0,
                        Keys = keys,
                        PackedRow = (long)(unit / blocks) * sequence.QueryLength + row0,
                    };
                    if (Problem.HasScoreTransform)
                        block.Transform = new ScoreTransform<TSimd, TVector>(Call, sequence, block.Head);
                    bool isFinite = (((int*)(workspace + Plan.RowFlags))[unit] | ((int*)(workspace + Plan.KeyFlags))[key0 / BlockN]) == 0;
                    RunBlock(ref block, isFinite, workspace);
                }
                if (parts == 1)
                    WriteKeys(sequence, kvHead, key0, keys, workspace + Plan.GradKeys, workspace + Plan.GradValues);
                else
                    KeepKeys(key0, keys, workspace);
            }
            for (int unit = 0; unit < blocks * Problem.GroupSize; unit++)
            {
                if (GradQuery.IsPresent && IsOwned(unit, part, parts))
                    WriteQueries(sequence, kvHead * Problem.GroupSize + unit / blocks, unit / blocks, unit % blocks, workspace);
            }
        }

        private static bool IsOwned(int unit, int part, int parts)
        {
            int turn = unit % (2 * parts);
            return (turn < parts ? turn : 2 * parts - 1 - turn) == part;
        }

        // Keys as panels of `Columns` keys, [headDim, keys], for q · kᵀ, and as panels of up to `Columns` elements,
        // [keys, width], for dS · k; values as the former.
        private readonly void PackKeysAndValues(in AttentionSequence sequence, int kvHead, float* workspace)
        {
            float* rows = workspace + Plan.Row;
            int* flags = (int*)(workspace + Plan.KeyFlags);
            for (int j0 = 0; j0 < sequence.KvLength; j0 += Columns)
            {
                int count = Math.Min(Columns, sequence.KvLength - j0);
                bool isFinite = true;
                for (int n = 0; n < count; n++)
                {
                    float* row = rows + n * Plan.KeyWidth;
                    LoadRow(Call.KeyRow(sequence, kvHead, j0 + n), Call.Key.Type, Problem.HeadDim, row, Plan.KeyWidth);
                    isFinite &= IsFinite(row, Plan.KeyWidth);
                    for (int column = 0; column < Plan.KeyWidth; column += Columns)
                    {
                        int width = MatrixTile<TSimd, TVector>.PanelWidth(Plan.KeyWidth, column);
                        Copy(row + column, width, KeyPanel(sequence, workspace, column) + (long)(j0 + n) * width);
                    }
                }
                Rows<TSimd, TVector>.Transpose(
                    rows, Plan.KeyWidth, count, Problem.HeadDim, workspace + Plan.KeyColumns + (long)j0 * Problem.HeadDim, Columns);
                for (int n = 0; n < count; n++)
                {
                    float* row = rows + n * Plan.ValueWidth;
                    LoadRow(Call.ValueRow(sequence, kvHead, j0 + n), Call.Value.Type, Problem.ValueHeadDim, row, Plan.ValueWidth);
                    isFinite &= IsFinite(row, Plan.ValueWidth);
                }
                Rows<TSimd, TVector>.Transpose(
                    rows, Plan.ValueWidth, count, Problem.ValueHeadDim, workspace + Plan.ValueColumns + (long)j0 * Problem.ValueHeadDim, Columns);
                if (j0 % BlockN == 0)
                    flags[j0 / BlockN] = 0;
                if (!isFinite)
                    flags[j0 / BlockN] = 1;
            }
        }

        private readonly float* KeyPanel(in AttentionSequence sequence, float* workspace, int column) =>
            workspace + Plan.Keys + (long)column * sequence.KvLength;

        // Query rows times scale · log2 e, gradient rows, lse · log2 e, δ, the keys each row sees, and the sink's gradient.
        private readonly void PackRows(in AttentionSequence sequence, int head, int groupHead, int block, int unit, float* workspace)
        {
            float* outputRow = workspace + Plan.Row;
            int* ranges = (int*)(workspace + Plan.Ranges);
            float sink = Call.SinkLogit(head);
            double gradSink = 0;
            bool isFinite = true;
            for (int i = block * BlockM; i < Math.Min((block + 1) * BlockM, sequence.QueryLength); i++)
            {
                long row = (long)groupHead * sequence.QueryLength + i, position = (long)sequence.QueryStart + i;
                float* query = workspace + Plan.Queries + row * Plan.KeyStride;
                float* gradOutput = workspace + Plan.GradOutputs + row * Plan.ValueStride;
                LoadRow(Call.QueryRow(sequence, head, i), Call.Query.Type, Problem.HeadDim, query, Plan.KeyStride);
                Scale(query, Plan.KeyWidth, Problem.Scale * Log2E);
                new Span<float>(workspace + Plan.GradQueries + row * Plan.KeyStride, Plan.KeyStride).Clear();
                LoadRow(GradOutput.Address(sequence.Batch, position, head), GradOutput.Type, Problem.ValueHeadDim, gradOutput, Plan.ValueStride);
                LoadRow(Call.OutputRow(sequence, head, i), Call.Output.Type, Problem.ValueHeadDim, outputRow, Plan.ValueWidth);
                float delta = Dot(gradOutput, outputRow, Plan.ValueWidth), lse = *(float*)Call.Lse.Address(sequence.Batch, head, position);
                if (GradLse.IsPresent)
                    delta -= *(float*)GradLse.Address(sequence.Batch, head, position);
                bool seesNothing = float.IsNegativeInfinity(lse);
                KeyRange range = seesNothing ? default : Call.GetRange(sequence, head, i);
                (ranges[3 * row], ranges[3 * row + 1], ranges[3 * row + 2]) = (range.SinkEnd, range.First, range.End);
                workspace[Plan.Lse + row] = lse * Log2E;
                workspace[Plan.Delta + row] = delta;
                isFinite &= float.IsFinite(delta) && IsFinite(query, Plan.KeyWidth) && IsFinite(gradOutput, Plan.ValueWidth);
                if (!seesNothing && !float.IsNegativeInfinity(sink))
                    gradSink -= MathF.Exp(sink - lse) * delta;
            }
            ((int*)(workspace + Plan.RowFlags))[unit] = isFinite ? 0 : 1;
            if (GradSinks.IsPresent)
                ((double*)(workspace + Plan.Sinks))[head] += gradSink;
        }

        private readonly void RunBlock(ref Block block, bool isFinite, float* workspace)
        {
            bool seesAny = FindRanges(ref block, workspace);
            if (!seesAny || (Problem.HasScoreTransform && block.Transform.HidesAll(block.Row0, block.Rows, block.Key0, block.Keys)))
            {
                if (Plan.IsBiasOwnedByRow && GradBias.IsPresent)
                {
                    float* zeros = workspace + Plan.GradScores;
                    new Span<float>(zeros, block.Keys).Clear();
                    for (int r = 0; r < block.Rows; r++)
                        AddBias(block, r, zeros, workspace);
                }
                return;
            }
            block.IsCareful = !isFinite && (!block.IsFull || Problem.HasScoreTransform);
            for (int r = 0; r < block.Rows; r += TileRows)
                RunTile(block, r, Math.Min(TileRows, block.Rows - r), workspace);
            if (block.IsCareful)
                AddProductsCarefully(block, workspace);
            else
                AddKeyProducts(block, workspace);
        }

        // The part of each row's range that lies in the block: lowest visible key, one past the highest, and between them the
        // hidden keys gap .. gapEnd − 1 that separate sinks from a window. Also the rows that see some of each six keys.
        private readonly bool FindRanges(ref Block block, float* workspace)
        {
            int* low = (int*)(workspace + Plan.BlockRanges), high = low + BlockM, gap = high + BlockM, gapEnd = gap + BlockM;
            int* ranges = (int*)(workspace + Plan.Ranges) + 3 * block.PackedRow;
            bool seesAny = false;
            block.IsFull = true;
            for (int r = 0; r < block.Rows; r++)
            {
                int sinkEnd = Math.Clamp(ranges[3 * r] - block.Key0, 0, block.Keys);
                int first = Math.Clamp(ranges[3 * r + 1] - block.Key0, 0, block.Keys), end = Math.Clamp(ranges[3 * r + 2] - block.Key0, 0, block.Keys);
                bool hasWindow = first < end;
                low[r] = sinkEnd > 0 || !hasWindow ? 0 : first;
                high[r] = hasWindow ? end : sinkEnd;
                gap[r] = gapEnd[r] = 0;
                if (sinkEnd > 0 && hasWindow && sinkEnd < first)
                    (gap[r], gapEnd[r]) = (sinkEnd, first);
                seesAny |= high[r] > 0;
                block.IsFull &= low[r] == 0 && high[r] == block.Keys && gapEnd[r] == 0;
            }
            int* firstRow = (int*)(workspace + Plan.KeyRows), rowEnd = firstRow + KeyTiles;
            for (int tile = 0; tile < KeyTiles; tile++)
                (firstRow[tile], rowEnd[tile]) = block.IsFull ? (0, block.Rows) : (block.Rows, 0);
            for (int r = 0; !block.IsFull && r < block.Rows; r++)
            {
                for (int tile = low[r] / TileRows; tile * TileRows < high[r]; tile++)
                    (firstRow[tile], rowEnd[tile]) = (Math.Min(firstRow[tile], r), r + 1);
            }
            return seesAny;
        }

        // Six query rows: their scores, the gradients of those, and what they add to dQ.
        private readonly void RunTile(in Block block, int r0, int rows, float* workspace)
        {
            int* low = (int*)(workspace + Plan.BlockRanges), high = low + BlockM;
            int first = block.Keys, end = 0;
            for (int r = r0; r < r0 + rows; r++)
            {
                if (low[r] < high[r])
                    (first, end) = (Math.Min(first, low[r]), Math.Max(end, high[r]));
            }
            float* p = workspace + Plan.P + r0 * TileStride, gradScores = workspace + Plan.GradScores + r0 * TileStride;
            float* query = workspace + Plan.Queries + (block.PackedRow + r0) * Plan.KeyStride;
            float* gradOutput = workspace + Plan.GradOutputs + (block.PackedRow + r0) * Plan.ValueStride;
            for (int n = first / Columns * Columns; n < end; n += Columns)
            {
                long key = (long)block.Key0 + n;
                MatrixTile<TSimd, TVector>.Multiply(
                    query, Plan.KeyStride, rows, workspace + Plan.KeyColumns + key * Problem.HeadDim, Columns, Problem.HeadDim, p + n, TileStride, accumulate: false);
                if (NeedsGradScores)
                {
                    MatrixTile<TSimd, TVector>.Multiply(
                        gradOutput, Plan.ValueStride, rows, workspace + Plan.ValueColumns + key * Problem.ValueHeadDim, Columns, Problem.ValueHeadDim,
                        gradScores + n, TileStride, accumulate: false);
                }
            }
            for (int r = r0; r < r0 + rows; r++)
                RunRow(block, r, workspace);
            if (!GradQuery.IsPresent || block.IsCareful || first >= end)
                return;
            float* gradQuery = workspace + Plan.GradQueries + (block.PackedRow + r0) * Plan.KeyStride;
            for (int column = 0; column < Plan.KeyWidth; column += Columns)
            {
                int width = MatrixTile<TSimd, TVector>.PanelWidth(Plan.KeyWidth, column);
                float* panel = KeyPanel(block.Sequence, workspace, column) + ((long)block.Key0 + first) * width;
                MatrixTile<TSimd, TVector>.Multiply(
                    gradScores + first, TileStride, rows, panel, width, end - first, gradQuery + column, Plan.KeyStride, accumulate: true);
            }
        }

        // From scores and dP of one row to p and dX, 0 where a key is hidden; on the way dA goes to bias and slope.
        private readonly void RunRow(in Block block, int r, float* workspace)
        {
            int* low = (int*)(workspace + Plan.BlockRanges) + r;
            int first = low[0], end = low[BlockM], gap = low[2 * BlockM], gapEnd = low[3 * BlockM];
            float* p = workspace + Plan.P + r * TileStride, gradScores = workspace + Plan.GradScores + r * TileStride;
            float lse = workspace[Plan.Lse + block.PackedRow + r], delta = workspace[Plan.Delta + block.PackedRow + r];
            int count = end - first, row = block.Row0 + r;
            bool needsGradScores = NeedsGradScores;
            if (Problem.HasScoreTransform && count > 0)
            {
                if (Problem.LogitSoftCap > 0 && needsGradScores)
                    SoftCap<TSimd, TVector>.GetSlopes(p + first, count, Problem.LogitSoftCap, workspace + Plan.CapFactors + first);
                block.Transform.Apply(row, block.Key0 + first, count, p + first);
            }
            if (block.IsCareful)
                ToGradientsCarefully(p + first, gradScores + first, count, lse, delta, needsGradScores);
            else if (needsGradScores)
                ToGradients(p + first, gradScores + first, count, lse, delta);
            else
                AttentionRow<TSimd, TVector>.ToWeights(p + first, count, lse);
            int paddedKeys = (block.Keys + 15) / 16 * 16;
            Clear(p, first, end, gap, gapEnd, paddedKeys);
            if (!needsGradScores)
                return;
            Clear(gradScores, first, end, gap, gapEnd, paddedKeys);
            if (GradBias.IsPresent)
                AddBias(block, r, gradScores, workspace);
            if (GradSlopes.IsPresent)
            {
                ((double*)(workspace + Plan.Slopes))[(long)block.Sequence.Index * Problem.NumHeads + block.Head] -=
                    DistanceSum(gradScores, block.Keys, Call.Position(block.Sequence, row) - block.Key0);
            }
            if (Problem.LogitSoftCap > 0)
                Multiply(gradScores + first, workspace + Plan.CapFactors + first, count);
        }

        // dV += pᵀ · dO and dK += dSᵀ · q, six keys at a time over the rows that see one of them.
        private readonly void AddKeyProducts(in Block block, float* workspace)
        {
            int* firstRow = (int*)(workspace + Plan.KeyRows), rowEnd = firstRow + KeyTiles;
            for (int key = 0; key < block.Keys; key += TileRows)
            {
                int keys = Math.Min(TileRows, block.Keys - key), first = firstRow[key / TileRows], depth = rowEnd[key / TileRows] - first;
                if (depth <= 0)
                    continue;
                float* gradOutput = workspace + Plan.GradOutputs + (block.PackedRow + first) * Plan.ValueStride;
                for (int column = 0; GradValue.IsPresent && column < Plan.ValueWidth; column += Columns)
                {
                    TransposedMatrixTile<TSimd, TVector>.MultiplyAdd(
                        workspace + Plan.P + first * TileStride + key, TileStride, keys, gradOutput + column, Plan.ValueStride,
                        MatrixTile<TSimd, TVector>.PanelWidth(Plan.ValueWidth, column), depth,
                        workspace + Plan.GradValues + key * Plan.ValueStride + column, Plan.ValueStride);
                }
                float* query = workspace + Plan.Queries + (block.PackedRow + first) * Plan.KeyStride;
                for (int column = 0; GradKey.IsPresent && column < Plan.KeyWidth; column += Columns)
                {
                    TransposedMatrixTile<TSimd, TVector>.MultiplyAdd(
                        workspace + Plan.GradScores + first * TileStride + key, TileStride, keys, query + column, Plan.KeyStride,
                        MatrixTile<TSimd, TVector>.PanelWidth(Plan.KeyWidth, column), depth,
                        workspace + Plan.GradKeys + key * Plan.KeyStride + column, Plan.KeyStride);
                }
            }
        }

        // The three products pair by pair, leaving out hidden ones: 0 times what a hidden key or row holds may be NaN.
        private readonly void AddProductsCarefully(in Block block, float* workspace)
        {
            for (int r = 0; r < block.Rows; r++)
            {
                long row = block.PackedRow + r;
                float* p = workspace + Plan.P + r * TileStride, gradScores = workspace + Plan.GradScores + r * TileStride;
                for (int j = 0; j < block.Keys; j++)
                {
                    float gradScore = NeedsGradScores ? gradScores[j] : 0f;
                    if (p[j] == 0f && gradScore == 0f)
                        continue;
                    Rows<TSimd, TVector>.AddScaled(
                        workspace + Plan.GradOutputs + row * Plan.ValueStride, p[j], Plan.ValueWidth, workspace + Plan.GradValues + j * Plan.ValueStride);
                    Rows<TSimd, TVector>.AddScaled(
                        workspace + Plan.Queries + row * Plan.KeyStride, gradScore, Plan.KeyWidth, workspace + Plan.GradKeys + j * Plan.KeyStride);
                    for (int column = 0; column < Plan.KeyWidth; column += Columns)
                    {
                        int width = MatrixTile<TSimd, TVector>.PanelWidth(Plan.KeyWidth, column);
                        Rows<TSimd, TVector>.AddScaled(
                            KeyPanel(block.Sequence, workspace, column) + ((long)block.Key0 + j) * width, gradScore, width,
                            workspace + Plan.GradQueries + row * Plan.KeyStride + column);
                    }
                }
            }
        }

        // dA of one row and the block's keys: written where every row has elements of its own, else added to the thread's sums.
        private readonly void AddBias(in Block block, int r, float* gradScores, float* workspace)
        {
            int row = block.Row0 + r, batch = block.Sequence.Batch;
            if (Plan.IsBiasOwnedByRow)
            {
                Rows<TSimd, TVector>.Narrow(gradScores, block.Keys, GradBias.Address(batch, block.Head, row, block.Key0), GradBias.Type);
                return;
            }
            TensorLayout shape = GradBias.Layout;
            float* target = workspace + Plan.Bias + (((shape[0] == 1 ? 0 : batch) * shape[1] + (shape[1] == 1 ? 0 : block.Head)) * shape[2]
                + (shape[2] == 1 ? 0 : row)) * shape[3];
            if (shape[3] == 1)
                *target += Sum(gradScores, block.Keys);
            else
                Rows<TSimd, TVector>.Add(gradScores, block.Keys, target + block.Key0);
        }

        private readonly void WriteQueries(in AttentionSequence sequence, int head, int groupHead, int block, float* workspace)
        {
            for (int i = block * BlockM; i < Math.Min((block + 1) * BlockM, sequence.QueryLength); i++)
            {
                float* row = workspace + Plan.GradQueries + ((long)groupHead * sequence.QueryLength + i) * Plan.KeyStride;
                Scale(row, Plan.KeyWidth, Problem.Scale);
                Rows<TSimd, TVector>.Narrow(row, Problem.HeadDim, GradQuery.Address(sequence.Batch, (long)sequence.QueryStart + i, head), GradQuery.Type);
            }
        }

        private readonly void WriteKeys(in AttentionSequence sequence, int kvHead, int key0, int keys, float* gradKeys, float* gradValues)
        {
            for (int j = 0; j < keys; j++)
            {
                long key = (long)sequence.KeyStart + key0 + j;
                if (GradKey.IsPresent)
                {
                    Scale(gradKeys + (long)j * Plan.KeyStride, Plan.KeyWidth, Ln2); // the packed query rows carry log2 e
                    Rows<TSimd, TVector>.Narrow(gradKeys + (long)j * Plan.KeyStride, Problem.HeadDim, GradKey.Address(sequence.Batch, key, kvHead), GradKey.Type);
                }
                if (GradValue.IsPresent)
                    Rows<TSimd, TVector>.Narrow(gradValues + (long)j * Plan.ValueStride, Problem.ValueHeadDim, GradValue.Address(sequence.Batch, key, kvHead), GradValue.Type);
            }
        }

        private readonly void KeepKeys(int key0, int keys, float* workspace)
        {
            Copy(workspace + Plan.GradKeys, keys * Plan.KeyStride, workspace + Plan.SharedKeys + (long)key0 * Plan.KeyStride);
            Copy(workspace + Plan.GradValues, keys * Plan.ValueStride, workspace + Plan.SharedValues + (long)key0 * Plan.ValueStride);
        }

        // Adds up the threads' sums of the keys that belong to `worker`.
        private readonly void MergeKeys(int worker, int workers)
        {
            AttentionSequence sequence = GetSequence(Task, out int kvHead);
            (long first, long last) = Partition.Range(sequence.KvLength, worker, workers);
            float* gradKeys = Workspace + Plan.SharedKeys + first * Plan.KeyStride, gradValues = Workspace + Plan.SharedValues + first * Plan.ValueStride;
            for (int other = 1; other < workers; other++)
            {
                AddRows(gradKeys + other * Plan.Floats, (last - first) * Plan.KeyStride, gradKeys);
                AddRows(gradValues + other * Plan.Floats, (last - first) * Plan.ValueStride, gradValues);
            }
            WriteKeys(sequence, kvHead, (int)first, (int)(last - first), gradKeys, gradValues);
        }

        private readonly void MergeBias(int worker, int workers)
        {
            if (!GradBias.IsPresent || Plan.IsBiasOwnedByRow)
                return;
            TensorLayout shape = GradBias.Layout;
            (long first, long last) = Partition.Range(shape[0] * shape[1] * shape[2], worker, workers);
            for (long row = first; row < last; row++)
            {
                float* sums = Workspace + Plan.Bias + row * shape[3];
                for (int other = 1; other < workers; other++)
                {
                    for (long j = 0; j < shape[3]; j += BlockN)
                        Rows<TSimd, TVector>.Add(sums + other * Plan.Floats + j, (int)Math.Min(BlockN, shape[3] - j), sums + j);
                }
                Rows<TSimd, TVector>.Narrow(
                    sums, shape[3], GradBias.Address(row / shape[2] / shape[1], row / shape[2] % shape[1], row % shape[2]), GradBias.Type);
            }
        }

        private readonly void MergeHeads(int workers)
        {
            for (int h = 0; GradSinks.IsPresent && h < Problem.NumHeads; h++)
                *(float*)GradSinks.Address(h) = (float)SumOverThreads(Plan.Sinks, h, workers);
            for (int s = 0; GradSlopes.IsPresent && s < Problem.NumSequences; s++)
            {
                for (int h = 0; h < Problem.NumHeads; h++)
                    *(float*)GradSlopes.Address(s, h) = (float)SumOverThreads(Plan.Slopes, (long)s * Problem.NumHeads + h, workers);
            }
        }

        private readonly double SumOverThreads(long offset, long index, int workers)
        {
            double sum = 0;
            for (int worker = 0; worker < workers; worker++)
                sum += ((double*)(Workspace + worker * Plan.Floats + offset))[index];
            return sum;
        }
    }

    // p = 2^(s − lse), dS = p · (dP − δ). Whole vectors are read and written.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void ToGradients(float* scores, float* gradScores, int count, float lse, float delta)
    {
        TVector shift = TSimd.Broadcast(lse), d = TSimd.Broadcast(delta);
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector p = TSimd.Exp2(TSimd.Subtract(TSimd.Load(scores + i), shift));
            TSimd.Store(p, scores + i);
            TSimd.Store(TSimd.Multiply(p, TSimd.Subtract(TSimd.Load(gradScores + i), d)), gradScores + i);
        }
    }

    // As ToGradients, where 0 · dP may be NaN: a hidden pair is recognised by its score.
    private static void ToGradientsCarefully(float* scores, float* gradScores, int count, float lse, float delta, bool needsGradScores)
    {
        for (int i = 0; i < count; i++)
        {
            bool isHidden = float.IsNegativeInfinity(scores[i]);
            scores[i] = isHidden ? 0f : MathF.Exp((scores[i] - lse) * Ln2);
            if (needsGradScores)
                gradScores[i] = isHidden ? 0f : scores[i] * (gradScores[i] - delta);
        }
    }

    // Σ gradScore_j · |distance − j|. Distances are integers and float32 holds them exactly up to 2^24.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float DistanceSum(float* gradScores, int count, long distance)
    {
        TVector lanes = TSimd.Lanes, sum = TSimd.Zero;
        for (int i = 0; i < count; i += TSimd.Width)
            sum = TSimd.MultiplyAdd(TSimd.Load(gradScores + i), TSimd.Abs(TSimd.Subtract(TSimd.Broadcast(distance - i), lanes)), sum);
        return TSimd.Sum(sum);
    }

    // Zeroes a row of a tile where keys are hidden: before `first`, in the gap, and from `end` to `count`.
    private static void Clear(float* row, int first, int end, int gap, int gapEnd, int count)
    {
        Clear(row, first);
        Clear(row + gap, gapEnd - gap);
        Clear(row + end, count - end);
    }

    private static void Clear(float* target, long count)
    {
        for (; count > 0; count -= int.MaxValue, target += int.MaxValue)
            new Span<float>(target, (int)Math.Min(count, int.MaxValue)).Clear();
    }

    private static void LoadRow(byte* source, DataType type, int count, float* target, int width)
    {
        Rows<TSimd, TVector>.Widen(source, type, count, target);
        for (int c = count; c < width; c++)
            target[c] = 0f;
    }

    private static bool IsFinite(float* row, int width)
    {
        TVector sum = TSimd.Zero; // 0 · ∞ and 0 · NaN are NaN
        for (int c = 0; c < width; c += TSimd.Width)
            sum = TSimd.MultiplyAdd(TSimd.Load(row + c), TSimd.Zero, sum);
        return TSimd.Sum(sum) == 0f;
    }

    private static float Dot(float* a, float* b, int width)
    {
        TVector sum = TSimd.Zero;
        for (int c = 0; c < width; c += TSimd.Width)
            sum = TSimd.MultiplyAdd(TSimd.Load(a + c), TSimd.Load(b + c), sum);
        return TSimd.Sum(sum);
    }

    private static float Sum(float* row, int count)
    {
        TVector sum = TSimd.Zero;
        for (int c = 0; c < count; c += TSimd.Width)
            sum = TSimd.Add(TSimd.Load(row + c), sum);
        return TSimd.Sum(sum);
    }

    private static void Copy(float* source, int width, float* target)
    {
        for (int c = 0; c < width; c += TSimd.Width)
            TSimd.Store(TSimd.Load(source + c), target + c);
    }

    private static void Scale(float* row, int width, float factor)
    {
        TVector f = TSimd.Broadcast(factor);
        for (int c = 0; c < width; c += TSimd.Width)
            TSimd.Store(TSimd.Multiply(TSimd.Load(row + c), f), row + c);
    }

    private static void Multiply(float* row, float* factors, int count)
    {
        int c = 0;
        for (; c <= count - TSimd.Width; c += TSimd.Width)
            TSimd.Store(TSimd.Multiply(TSimd.Load(row + c), TSimd.Load(factors + c)), row + c);
        for (; c < count; c++)
            row[c] *= factors[c];
    }

    private static void AddRows(float* rows, long count, float* target)
    {
        for (long c = 0; c < count; c += TSimd.Width)
            TSimd.Store(TSimd.Add(TSimd.Load(target + c), TSimd.Load(rows + c)), target + c);
    }
}
