using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Expected attention (<see cref="KvCacheExpectProblem"/>). A task is one query head and 96 slots: the rows
/// <c>scale · μ + scale² / 2 · k Σ</c> come from the matrix micro-kernel, which begins with μ, and each one's product with its key is an
/// exponent. Then, cell by cell, the softmax of every head, their mean, and the norms of the values. Exponents are in base 2.
/// Workspace: one float a head and slot; of a thread (96 + 64) · headDim + headDim² floats.
/// </summary>
public sealed unsafe class KvCacheExpect<TSimd, TVector>() : CpuKernel<KvCacheExpectProblem>($"kv-cache-expect/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockN = 16 * MatrixTile<TSimd, TVector>.Rows;
    private const float Log2E = 1.44269504f;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheExpectProblem problem, int threads) =>
        checked((ExponentFloats(problem) + threads * FloatsPerThread(problem.HeadDim)) * sizeof(float));

    /// <inheritdoc/>
    public override void Run(in KvCacheExpectProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        if (problem.Slots == 0)
            return;
        var body = new Body
        {
            Problem = problem,
            QueryMean = operands[KvCacheExpectProblem.QueryMean],
            QueryCovariance = operands[KvCacheExpectProblem.QueryCovariance],
            Key = operands[KvCacheExpectProblem.Key],
            Value = operands[KvCacheExpectProblem.Value],
            KeyScale = operands[KvCacheExpectProblem.KeyScale],
            ValueScale = operands[KvCacheExpectProblem.ValueScale],
            PageTable = operands[KvCacheExpectProblem.PageTable],
            Lengths = operands[KvCacheExpectProblem.Lengths],
            Scores = operands[KvCacheExpectProblem.Scores],
            Exponents = (float*)workspace,
        };
        workers.Run(ref body);
        body.IsSecond = true;
        workers.Run(ref body);
    }

    // Whole cache lines, so that threads do not share one.
    private static long ExponentFloats(in KvCacheExpectProblem problem) => ((long)problem.NumHeads * problem.Slots + 15) / 16 * 16;

    private static long FloatsPerThread(int headDim) => (BlockN * (long)headDim + (BlockN + headDim + 1L) * Rows<TSimd, TVector>.Padded(headDim) + 15) / 16 * 16;

    private struct Body : IParallelBody
    {
        public KvCacheExpectProblem Problem;
        public RawView QueryMean, QueryCovariance, Key, Value, KeyScale, ValueScale, PageTable, Lengths, Scores;
        public float* Exponents; // [numHeads, slots], then each thread's own
        public bool IsSecond;

        public readonly void Execute(int worker, int workers)
        {
            if (IsSecond)
                ScoreCells(worker, workers);
            else
                FindExponents(worker, workers);
        }

        private readonly void FindExponents(int worker, int workers)
        {
            int headDim = Problem.HeadDim, width = Rows<TSimd, TVector>.Padded(headDim), packed = -1;
            float* keys = Exponents + ExponentFloats(Problem) + worker * FloatsPerThread(headDim), products = keys + (long)BlockN * headDim;
            float* panels = products + (long)BlockN * width, mean = panels + (long)headDim * width;
            long blocks = ((long)Problem.Slots + BlockN - 1) / BlockN;
            (long first, long last) = Partition.Range(Problem.NumHeads * blocks, worker, workers);
            for (long task = first; task < last; task++)
            {
                int head = (int)(task / blocks), cell = head / Problem.GroupSize, slot = (int)(task % blocks * BlockN);
                int count = Math.Min(BlockN, Lengths.ReadInt32(cell) - slot);
                if (count <= 0)
                    continue;
                if (packed != head)
                    PackQueries(packed = head, panels, mean, width);
                ReadKeys(cell, slot, count, keys);
                for (int r = 0; r < count; r++)
                    Unsafe.CopyBlockUnaligned(products + (long)r * width, mean, (uint)width * sizeof(float));
                Multiply(keys, count, panels, products, width);
                float* exponents = Exponents + (long)head * Problem.Slots + slot;
                for (int r = 0; r < count; r++)
                    exponents[r] = Rows<TSimd, TVector>.Dot(keys + (long)r * headDim, products + (long)r * width, headDim);
            }
        }

        // The covariance as panels of tile columns and the mean, with their factors and, after their end, zeros to whole vectors.
        private readonly void PackQueries(int head, float* panels, float* mean, int width)
        {
            int headDim = Problem.HeadDim;
            float linear = Problem.Scale * Log2E, quadratic = Problem.Scale * Problem.Scale * (0.5f * Log2E);
            float* source = (float*)QueryMean.Address(head);
            for (int i = 0; i < width; i++)
                mean[i] = i < headDim ? linear * source[i] : 0f;
            for (int column = 0; column < headDim; column += MatrixTile<TSimd, TVector>.Columns)
            {
                int panelWidth = MatrixTile<TSimd, TVector>.PanelWidth(headDim, column);
                for (int i = 0; i < headDim; i++, panels += panelWidth)
                {
                    float* row = (float*)QueryCovariance.Address(head, i) + column;
                    for (int c = 0; c < panelWidth; c++)
                        panels[c] = column + c < headDim ? quadratic * row[c] : 0f;
                }
            }
        }

        private readonly void ReadKeys(int cell, int slot, int count, float* keys)
        {
            for (int r = 0; r < count; r++, keys += Problem.HeadDim)
            {
                int page = PageTable.ReadInt32(cell, (slot + r) / Problem.PageSize), row = (slot + r) % Problem.PageSize;
                Rows<TSimd, TVector>.Widen(Key.Address(page, row), Key.Type, Problem.HeadDim, keys);
                if (!KeyScale.IsPresent)
                    continue;
                float scale = *(float*)KeyScale.Address(page, 0, row);
                for (int i = 0; i < Problem.HeadDim; i++)
                    keys[i] *= scale;
            }
        }

        private readonly void Multiply(float* keys, int count, float* panels, float* products, int width)
        {
            int headDim = Problem.HeadDim, tileRows = MatrixTile<TSimd, TVector>.Rows;
            for (int column = 0; column < headDim; column += MatrixTile<TSimd, TVector>.Columns)
            {
                int panelWidth = MatrixTile<TSimd, TVector>.PanelWidth(headDim, column);
                for (int r = 0; r < count; r += tileRows)
                {
                    MatrixTile<TSimd, TVector>.Multiply(
                        keys + (long)r * headDim, headDim, Math.Min(tileRows, count - r), panels, panelWidth, headDim,
                        products + (long)r * width + column, width, accumulate: true);
                }
                panels += (long)headDim * panelWidth;
            }
        }

        private readonly void ScoreCells(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.Cells, worker, workers);
            for (int cell = (int)first; cell < last; cell++)
            {
                int length = Lengths.ReadInt32(cell), begin = Math.Min(Problem.SinkCount, length), count = length - begin;
                float* scores = (float*)Scores.Address(cell);
                new Span<float>(scores, begin).Fill(float.PositiveInfinity);
                new Span<float>(scores + length, Problem.Slots - length).Fill(float.NegativeInfinity);
                if (count == 0)
                    continue;
                new Span<float>(scores + begin, count).Fill(Problem.Epsilon);
                for (int g = 0; g < Problem.GroupSize; g++)
                {
                    float* weights = Exponents + (long)(cell * Problem.GroupSize + g) * Problem.Slots + begin;
                    float total = Softmax<TSimd, TVector>.Exp2InPlace(weights, count, Softmax<TSimd, TVector>.Max(weights, count));
                    Rows<TSimd, TVector>.AddScaled(weights, 1f / (total * Problem.GroupSize), count, scores + begin);
                }
                for (int j = begin; j < length; j++)
                    scores[j] *= ValueNorm(cell, j);
            }
        }

        private readonly float ValueNorm(int cell, int slot)
        {
            int page = PageTable.ReadInt32(cell, slot / Problem.PageSize), row = slot % Problem.PageSize;
            float norm = RowNorm<TSimd, TVector>.Of(Value.Address(page, row), Value.Type, Problem.ValueHeadDim);
            return ValueScale.IsPresent ? norm * *(float*)ValueScale.Address(page, 0, row) : norm;
        }
    }
}
