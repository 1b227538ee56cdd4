using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Fused attention for many query rows (Dao 2023, arXiv:2307.08691): for a block of 96 query rows and one block of 256 keys
/// after another,
/// <code>
/// s = (scale · log2 e · q) · kᵀ       m' = max(m, rowmax s)      p = 2^(s − m')
/// l = l · 2^(m − m') + rowsum p       o = o · 2^(m − m') + p · v
/// </code>
/// and at the end output = o / l, lse = (m + log2 l) · ln 2. The block of scores stays in the second-level cache.
/// Parallel scheme: a task is one (sequence, key/value head); a thread packs the head's keys (transposed) and values into
/// tile panels once and uses them for every query row of the group. Tasks that do not come out even are shared: every
/// thread packs, and query blocks are dealt so that causal work is even.
/// Workspace per thread: kvLength · (headDim + valueHeadDim) floats of panels, and 96 · (headDim + 256 + valueHeadDim).
/// Cost: 2 · rows · visible keys · (headDim + valueHeadDim) FLOPs; reads each key and value once per task.
/// </summary>
public sealed unsafe class FlashForward<TSimd, TVector>() : CpuKernel<AttentionProblem>($"attention-forward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockM = 96;
    private const int BlockN = 256;
    private const int TileRows = MatrixTile<TSimd, TVector>.Rows;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in AttentionProblem problem) =>
        problem.IsPlain && problem.KvType.IsFloat() ? null : "computes plain and causal attention alone";

    private static int Columns => MatrixTile<TSimd, TVector>.Columns;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionProblem problem, int threads) => checked(threads * new Plan(problem).Floats * sizeof(float));

    /// <inheritdoc/>
    public override void Run(in AttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        if (problem.BatchSize == 0 || problem.QueryLength == 0 || problem.NumHeads == 0)
            return;
        var body = new Body
        {
            Problem = problem,
            Plan = new Plan(problem),
            Query = operands[AttentionProblem.Query],
            Key = operands[AttentionProblem.Key],
            Value = operands[AttentionProblem.Value],
            Output = operands[AttentionProblem.Output],
            Lse = operands[AttentionProblem.Lse],
            Workspace = (float*)workspace,
        };
        workers.Run(ref body);
    }

    // Where each thread's buffers lie in its part of the workspace, in floats.
    private readonly struct Plan
    {
        public readonly long Keys, Values, QueryRows, Scores, Sums, State, Row, Floats;
        public readonly int ValueWidth;

        public Plan(in AttentionProblem problem)
        {
            long paddedKeys = ((long)problem.KvLength + Columns - 1) / Columns * Columns;
            ValueWidth = (problem.ValueHeadDim + TSimd.Width - 1) / TSimd.Width * TSimd.Width;
            Keys = 0;
            Values = checked(Keys + paddedKeys * problem.HeadDim);
            QueryRows = checked(Values + paddedKeys * ValueWidth);
            Scores = QueryRows + BlockM * problem.HeadDim;
            Sums = Scores + BlockM * BlockN;
            State = Sums + BlockM * ValueWidth;
            Row = State + 2 * BlockM;
            Floats = (Row + (long)Columns * AttentionProblem.MaxHeadDim + 63) / 64 * 64;
        }
    }

    private struct Body : IParallelBody
    {
        public AttentionProblem Problem;
        public Plan Plan;
        public RawView Query, Key, Value, Output, Lse;
        public float* Workspace;

        public void Execute(int worker, int workers)
        {
            float* workspace = Workspace + worker * Plan.Floats;
            long tasks = (long)Problem.BatchSize * Problem.NumKvHeads;
            long whole = tasks / workers * workers;
            for (long task = worker; task < whole; task += workers)
                RunTask(task, 0, 1, workspace);
            for (long task = whole; task < tasks; task++)
                RunTask(task, worker, workers, workspace);
        }

        // Does the query blocks of one key/value head that belong to `worker`: dealt forwards and backwards in turn
        // (0 1 1 0 0 1 ...), since under a causal mask later blocks cost more.
        private readonly void RunTask(long task, int worker, int workers, float* workspace)
        {
            int batch = (int)(task / Problem.NumKvHeads), kvHead = (int)(task % Problem.NumKvHeads);
            PackKeys(batch, kvHead, workspace);
            PackValues(batch, kvHead, workspace);
            int blocks = (Problem.QueryLength + BlockM - 1) / BlockM;
            for (int h = 0; h < Problem.GroupSize; h++)
            {
                for (int block = 0; block < blocks; block++)
                {
                    int turn = block % (2 * workers);
                    if ((turn < workers ? turn : 2 * workers - 1 - turn) == worker)
                        RunQueryBlock(batch, kvHead, kvHead * Problem.GroupSize + h, block * BlockM, workspace);
                }
            }
        }

        // Panels of `Columns` keys: panel[d, n] = key[n, d].
        private readonly void PackKeys(int batch, int kvHead, float* workspace)
        {
            float* rows = workspace + Plan.Row;
            for (long j = 0; j < Problem.KvLength; j += Columns)
            {
                int count = (int)Math.Min(Columns, Problem.KvLength - j);
                float* panel = workspace + Plan.Keys + j * Problem.HeadDim;
                if (Key.Type == DataType.Float32)
                {
                    Rows<TSimd, TVector>.Transpose(
                        (float*)Key.Address(batch, j, kvHead), Key.Layout.Stride(1), count, Problem.HeadDim, panel, Columns);
                    continue;
                }
                for (int n = 0; n < count; n++)
                    Rows<TSimd, TVector>.Widen(Key.Address(batch, j + n, kvHead), Key.Type, Problem.HeadDim, rows + n * Problem.HeadDim);
                Rows<TSimd, TVector>.Transpose(rows, Problem.HeadDim, count, Problem.HeadDim, panel, Columns);
            }
        }

        // Panels of up to `Columns` value elements, each [kvLength, width]; the last is as narrow as whole vectors allow.
        private readonly void PackValues(int batch, int kvHead, float* workspace)
        {
            float* row = workspace + Plan.Row;
            new Span<float>(row, Plan.ValueWidth).Clear();
            for (long j = 0; j < Problem.KvLength; j++)
            {
                Rows<TSimd, TVector>.Widen(Value.Address(batch, j, kvHead), Value.Type, Problem.ValueHeadDim, row);
                for (int column = 0; column < Plan.ValueWidth; column += Columns)
                {
                    int width = MatrixTile<TSimd, TVector>.PanelWidth(Plan.ValueWidth, column);
                    float* target = ValuePanel(workspace, column) + j * width;
                    for (int c = 0; c < width; c += TSimd.Width)
                        TSimd.Store(TSimd.Load(row + column + c), target + c);
                }
            }
        }

        private readonly float* ValuePanel(float* workspace, int column) => workspace + Plan.Values + (long)column * Problem.KvLength;

        private readonly void RunQueryBlock(int batch, int kvHead, int head, int row0, float* workspace)
        {
            int rows = Math.Min(BlockM, Problem.QueryLength - row0);
            float* queryRows = workspace + Plan.QueryRows;
            float* scores = workspace + Plan.Scores;
            float* sums = workspace + Plan.Sums;
            float* maxima = workspace + Plan.State, totals = maxima + BlockM;
            for (int r = 0; r < rows; r++)
            {
                AttentionRow<TSimd, TVector>.LoadQuery(Query, batch, row0 + r, head, Problem, queryRows + r * Problem.HeadDim);
                maxima[r] = float.NegativeInfinity;
                totals[r] = 0f;
            }
            new Span<float>(sums, rows * Plan.ValueWidth).Clear();
            int blockEnd = Problem.VisibleKeys(row0 + rows - 1);
            for (int key0 = 0; key0 < blockEnd; key0 += BlockN)
            {
                for (int r = 0; r < rows; r += TileRows)
                {
                    int tileRows = Math.Min(TileRows, rows - r);
                    int most = Math.Min(BlockN, Problem.VisibleKeys(row0 + r + tileRows - 1) - key0);
                    if (most <= 0)
                        continue;
                    float* s = scores + r * BlockN;
                    for (int n = 0; n < most; n += Columns)
                    {
                        MatrixTile<TSimd, TVector>.Multiply(
                            queryRows + r * Problem.HeadDim, Problem.HeadDim, tileRows,
                            workspace + Plan.Keys + (long)(key0 + n) * Problem.HeadDim, Columns, Problem.HeadDim, s + n, BlockN, accumulate: false);
                    }
                    int least = Math.Clamp(Problem.VisibleKeys(row0 + r) - key0, 0, BlockN);
                    for (int i = 0; i < tileRows; i++)
                    {
                        int visible = Math.Clamp(Problem.VisibleKeys(row0 + r + i) - key0, 0, BlockN);
                        if (visible > 0)
                            AttentionRow<TSimd, TVector>.Update(s + i * BlockN, visible, ref maxima[r + i], ref totals[r + i], sums + (r + i) * Plan.ValueWidth, Plan.ValueWidth);
                    }
                    AddValues(workspace, s, tileRows, least, row0 + r, key0, sums + r * Plan.ValueWidth);
                }
            }
            for (int r = 0; r < rows; r++)
                AttentionRow<TSimd, TVector>.Write(Output, Lse, batch, head, row0 + r, maxima[r], totals[r], sums + r * Plan.ValueWidth, Plan.ValueWidth);
        }

        // sums += p · v. The keys every row of the tile sees go through the micro-kernel; the up to five further ones of a
        // causal edge are added row by row, so that a masked value (which may be NaN) is never touched.
        private readonly void AddValues(float* workspace, float* p, int tileRows, int least, int row, int key0, float* sums)
        {
            for (int column = 0; column < Plan.ValueWidth; column += Columns)
            {
                int width = MatrixTile<TSimd, TVector>.PanelWidth(Plan.ValueWidth, column);
                float* panel = ValuePanel(workspace, column) + (long)key0 * width;
                if (least > 0)
                {
                    MatrixTile<TSimd, TVector>.Multiply(
                        p, BlockN, tileRows, panel, width, least, sums + column, Plan.ValueWidth, accumulate: true);
                }
                for (int i = 1; i < tileRows; i++)
                {
                    int visible = Math.Clamp(Problem.VisibleKeys(row + i) - key0, 0, BlockN);
                    for (int j = least; j < visible; j++)
                    {
                        TVector weight = TSimd.Broadcast(p[i * BlockN + j]);
                        float* sum = sums + (long)i * Plan.ValueWidth + column;
                        for (int c = 0; c < width; c += TSimd.Width)
                            TSimd.Store(TSimd.MultiplyAdd(weight, TSimd.Load(panel + (long)j * width + c), TSimd.Load(sum + c)), sum + c);
                    }
                }
            }
        }
    }
}
