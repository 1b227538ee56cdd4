using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Attention weights p = 2^(s − lse · log2 e) and their sums by key (<see cref="AttentionWeightsProblem"/>). A task is one
/// sequence's key/value head and 256 of its keys: they are packed into tile panels once, and tiles of six query rows of every
/// head of the group pass over them. A key's sum is made by one task in the order of the rows, so that it does not depend on
/// the number of threads. Rows that see none of the keys are passed over.
/// Workspace per thread: (256 + 64 + 6) · headDim + 7 · 256 floats at the most. Cost: 2 · rows · visible keys · headDim FLOPs.
/// </summary>
public sealed unsafe class AttentionWeights<TSimd, TVector>() : CpuKernel<AttentionWeightsProblem>($"attention-weights/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockN = 256;
    private const int TileRows = MatrixTile<TSimd, TVector>.Rows;
    private const float Log2E = 1.44269504f;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    private static int Columns => MatrixTile<TSimd, TVector>.Columns;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionWeightsProblem problem, int threads) =>
        threads * FloatsPerThread(problem.Forward.HeadDim) * sizeof(float);

    /// <inheritdoc/>
    public override void Run(in AttentionWeightsProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Call = new AttentionCall(problem.Forward, operands),
            Weights = operands[AttentionWeightsProblem.Weights],
            ColumnMass = operands[AttentionWeightsProblem.ColumnMass],
            Workspace = (float*)workspace,
        };
        if (body.Weights.IsPresent || body.ColumnMass.IsPresent)
            workers.Run(ref body);
    }

    // Whole cache lines, so that threads do not share one.
    private static long FloatsPerThread(int headDim) => ((BlockN + Columns + TileRows) * (long)headDim + (TileRows + 1) * BlockN + 15) / 16 * 16;

    private struct Body : IParallelBody
    {
        public AttentionWeightsProblem Problem;
        public AttentionCall Call;
        public RawView Weights, ColumnMass;
        public float* Workspace;

        public readonly void Execute(int worker, int workers)
        {
            AttentionProblem forward = Problem.Forward;
            float* workspace = Workspace + worker * FloatsPerThread(forward.HeadDim);
            long blocks = ((long)forward.KvLength + BlockN - 1) / BlockN, tasks = (long)forward.NumSequences * forward.NumKvHeads * blocks;
            for (long task = worker; task < tasks; task += workers)
            {
                int block = (int)(task % blocks), kvHead = (int)(task / blocks % forward.NumKvHeads);
                AttentionSequence sequence = Call.GetSequence((int)(task / blocks / forward.NumKvHeads), kvHead);
                int columns = Math.Min(BlockN, (forward.RaggedSequences > 0 ? sequence.KvLength : forward.KvLength) - block * BlockN);
                if (columns > 0)
                    RunBlock(sequence with { QueryStart = sequence.QueryStart - Problem.FirstRow }, kvHead, block * BlockN, columns, workspace);
            }
        }

        // All rows of one group's heads over one block of keys; `columns` counts unused slots of a cache too.
        private readonly void RunBlock(in AttentionSequence sequence, int kvHead, int key0, int columns, float* workspace)
        {
            int headDim = Problem.Forward.HeadDim, keys = Math.Clamp(sequence.KvLength - key0, 0, columns);
            float* panels = workspace, keyRows = panels + BlockN * headDim, queries = keyRows + Columns * headDim;
            float* scores = queries + TileRows * headDim, sums = scores + TileRows * BlockN;
            for (int n = 0; n < keys; n += Columns)
                PackKeys(sequence, kvHead, key0 + n, Math.Min(Columns, keys - n), keyRows, panels + n * headDim);
            int firstRow = Problem.Forward.RaggedSequences > 0 ? 0 : Problem.FirstRow;
            int endRow = Problem.Forward.RaggedSequences > 0 ? sequence.QueryLength : Problem.FirstRow + Problem.RowCount;
            for (int g = 0; g < Problem.Forward.GroupSize; g++)
            {
                int head = kvHead * Problem.Forward.GroupSize + g;
                var transform = new ScoreTransform<TSimd, TVector>(Call, sequence, head);
                new Span<float>(sums, BlockN).Clear();
                for (int row = firstRow; row < endRow; row += TileRows)
                    RunTile(sequence, head, row, Math.Min(TileRows, endRow - row), key0, keys, columns, transform, panels, queries, scores, sums);
                if (ColumnMass.IsPresent)
                    StoreSums(sums, columns, (float*)ColumnMass.Address(sequence.Batch, head) + sequence.KeyStart + key0);
                if (Weights.IsPresent && Problem.Forward.RaggedSequences > 0)
                    ClearOtherSequences(sequence, head, key0, columns);
            }
        }

        private readonly void StoreSums(float* sums, int count, float* target)
        {
            for (int j = 0; Problem.AddsMass && j < count; j++)
                sums[j] += target[j];
            Copy(sums, count, target);
        }

        private readonly void RunTile(
            in AttentionSequence sequence, int head, int row0, int rows, int key0, int keys, int columns,
            in ScoreTransform<TSimd, TVector> transform, float* panels, float* queries, float* scores, float* sums)
        {
            // The keys of the block that some row of the tile sees: from, to.
            int from = keys, to = 0;
            for (int r = 0; r < rows; r++)
            {
                KeyRange range = Call.GetRange(sequence, head, row0 + r);
                if (range.SinkEnd > key0)
                    (from, to) = (0, Math.Max(to, Math.Min(keys, range.SinkEnd - key0)));
                if (range.End > key0 && range.First < key0 + keys && range.First < range.End)
                    (from, to) = (Math.Min(from, Math.Max(0, range.First - key0)), Math.Max(to, Math.Min(keys, range.End - key0)));
            }
            bool isHidden = from >= to || (Problem.Forward.HasScoreTransform && transform.HidesAll(row0, rows, key0 + from, to - from));
            if (!isHidden)
            {
                from = from / Columns * Columns;
                LoadQueries(sequence, head, row0, rows, queries);
                for (int n = from; n < to; n += Columns)
                {
                    MatrixTile<TSimd, TVector>.Multiply(
                        queries, Problem.Forward.HeadDim, rows, panels + n * Problem.Forward.HeadDim, Columns, Problem.Forward.HeadDim,
                        scores + n, BlockN, accumulate: false);
                }
            }
            for (int r = 0; r < rows; r++)
            {
                float* row = scores + r * BlockN;
                if (!isHidden)
                    FinishRow(sequence, head, row0 + r, key0, from, to, transform, row, sums);
                if (Weights.IsPresent)
                {
                    float* target = (float*)Weights.Address(sequence.Batch, head, (long)sequence.QueryStart + row0 + r) + sequence.KeyStart + key0;
                    int first = isHidden ? columns : from, end = isHidden ? columns : to;
                    new Span<float>(target, first).Clear();
                    Copy(row + first, end - first, target + first);
                    new Span<float>(target + end, columns - end).Clear();
                }
            }
        }

        // Scores become weights, 0 where hidden, and are added to the sums. The buffers reach past `to` to whole vectors.
        private readonly void FinishRow(
            in AttentionSequence sequence, int head, int row, int key0, int from, int to, in ScoreTransform<TSimd, TVector> transform,
            float* scores, float* sums)
        {
            float lse = *(float*)Call.Lse.Address(sequence.Batch, head, (long)sequence.QueryStart + row);
            KeyRange range = Call.GetRange(sequence, head, row);
            int padded = Rows<TSimd, TVector>.Padded(to);
            if (lse == float.NegativeInfinity)
                range = default; // the row saw no key, or keys of score −∞ alone
            else if (Problem.Forward.HasScoreTransform)
                transform.Apply(row, key0 + from, to - from, scores + from);
            int sinkEnd = Math.Clamp(range.SinkEnd - key0, from, to), first = Math.Clamp(range.First - key0, sinkEnd, padded);
            int end = Math.Clamp(range.End - key0, first, Math.Max(first, to));
            new Span<float>(scores + sinkEnd, first - sinkEnd).Fill(float.NegativeInfinity);
            new Span<float>(scores + end, padded - end).Fill(float.NegativeInfinity);
            AttentionRow<TSimd, TVector>.ToWeights(scores + from, padded - from, range == default ? 0f : lse * Log2E, sums + from);
        }

        private readonly void PackKeys(in AttentionSequence sequence, int kvHead, int key, int count, float* rows, float* panel)
        {
            int headDim = Problem.Forward.HeadDim;
            for (int n = 0; n < count; n++)
            {
                float* row = rows + n * headDim;
                Rows<TSimd, TVector>.Widen(Call.KeyRow(sequence, kvHead, key + n), Call.Key.Type, headDim, row);
                if (Call.Key.Type == DataType.Int8)
                    Multiply(row, headDim, Call.KeyScale(sequence, kvHead, key + n));
            }
            Rows<TSimd, TVector>.Transpose(rows, headDim, count, headDim, panel, Columns);
        }

        private readonly void LoadQueries(in AttentionSequence sequence, int head, int row0, int rows, float* queries)
        {
            int headDim = Problem.Forward.HeadDim;
            for (int r = 0; r < rows; r++)
            {
                float* query = queries + r * headDim;
                Rows<TSimd, TVector>.Widen(Call.QueryRow(sequence, head, row0 + r), Call.Query.Type, headDim, query);
                Multiply(query, headDim, Problem.Forward.Scale * Log2E);
            }
        }

        private static void Multiply(float* row, int count, float factor)
        {
            for (int c = 0; c < count; c++)
                row[c] *= factor;
        }

        // Rows of other sequences see none of these keys.
        private readonly void ClearOtherSequences(in AttentionSequence sequence, int head, int key0, int columns)
        {
            for (int row = 0; row < Problem.RowCount; row++)
            {
                if (row < sequence.QueryStart || row >= sequence.QueryStart + sequence.QueryLength)
                    new Span<float>((float*)Weights.Address(0, head, row) + sequence.KeyStart + key0, columns).Clear();
            }
        }

        private static void Copy(float* source, int count, float* target) => Unsafe.CopyBlockUnaligned(target, source, (uint)(count * sizeof(float)));
    }
}
