using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>What attention's gradients need of one row, and what is summed over rows.</summary>
internal static class BackwardRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>Rows that a group of <see cref="ComputeAttentionDelta"/> has.</summary>
    public const int RowsOfGroup = 8;

    /// <summary>The arguments; [batchSize, numHeads, queryLength] where nothing else is said.</summary>
    internal struct Parameters
    {
        public TypedTensor Output;          // [batchSize, queryLength, numHeads, valueHeadDim]
        public TypedTensor GradOutput;      // [batchSize, queryLength, numHeads, valueHeadDim]
        public ArrayView<float> GradLse;
        public ArrayView<float> Lse;        // natural log
        public ArrayView<float> Delta;      // [batchSize, numHeads, RowPitch], of which the first RowsOfHead are written
        public ArrayView<float> Shift;      // −lse · log2 e, as Delta, where HasShift
        public ArrayView<float> RowSlopes;  // contiguous
        public ArrayView<float> SinkLogits; // [numHeads]
        public ArrayView<float> Target;     // gradSinkLogits [numHeads] or gradAlibiSlopes [sequences, numHeads]
        public ArrayView<int> QueryOffsets; // [sequences + 1] when IsRagged
        public long GradLseBatchStride, GradLseHeadStride, LseBatchStride, LseHeadStride, TargetStride, NumRows;
        public int HasGradLse, HasShift, IsRagged, IsSlope;
        public int BatchSize, NumHeads, QueryLength, ValueHeadDim;
        public int RowsOfHead, RowPitch;    // of δ; rows past the queries have δ = 0 and −∞ for their shift
    }

    /// <summary>
    /// δ_i = Σ_c gradOutput_ic · output_ic − gradLse_i, and the shift, in base 2, of the scores of a row; one group for every 8 rows,
    /// 8 threads a row.
    /// </summary>
    public static void ComputeAttentionDelta(Parameters p)
    {
        ArrayView<float> parts = SharedMemory.Allocate<float>(Threads);
        int part = Group.IdxX % 8;
        long row = (long)Grid.IdxX * RowsOfGroup + Group.IdxX / 8;
        int query = (int)(row % p.RowsOfHead), head = (int)(row / p.RowsOfHead % p.NumHeads), batch = (int)(row / p.RowsOfHead / p.NumHeads);
        bool exists = row < p.NumRows && query < p.QueryLength;
        float sum = 0f;
        if (exists)
        {
            long output = p.Output.Offset(batch, query, head), gradOutput = p.GradOutput.Offset(batch, query, head);
            for (int column = 4 * part; column < p.ValueHeadDim; column += 32)
            {
                int valid = p.ValueHeadDim - column;
                sum += Float4.Dot(p.GradOutput.Load(gradOutput + column, valid), p.Output.Load(output + column, valid));
            }
        }
        parts[Group.IdxX] = sum;
        Group.Barrier();
        if (row < p.NumRows && part == 0)
        {
            float delta = 0f;
            for (int i = 0; i < 8; i++)
                delta += parts[Group.IdxX + i];
            if (exists && p.HasGradLse != 0)
                delta -= p.GradLse[batch * p.GradLseBatchStride + head * p.GradLseHeadStride + query];
            long place = row / p.RowsOfHead * p.RowPitch + query;
            p.Delta[place] = delta;
            if (p.HasShift != 0)
            {
                // A row that sees nothing has lse −∞, and no weights either.
                float lse = exists ? p.Lse[batch * p.LseBatchStride + head * p.LseHeadStride + query] : float.NegativeInfinity;
                p.Shift[place] = lse == float.NegativeInfinity ? lse : -lse * ScoreOptions.Log2E;
            }
        }
    }

    /// <summary>
    /// gradSink_h = −Σ_i exp(sink_h − lse_i) · δ_i over the rows of all sequences, one group a head; or a slope's gradient from the
    /// rows' parts of it, one group for each head of each sequence.
    /// </summary>
    public static void SumAttentionRows(Parameters p)
    {
        ArrayView<float> parts = SharedMemory.Allocate<float>(Threads);
        int head = Grid.IdxX % p.NumHeads, sequence = Grid.IdxX / p.NumHeads;
        int firstBatch = 0, lastBatch = p.BatchSize, first = 0, end = p.QueryLength;
        if (p.IsSlope != 0 && p.IsRagged != 0)
        {
            first = p.QueryOffsets[sequence];
            end = p.QueryOffsets[sequence + 1];
        }
        else if (p.IsSlope != 0)
        {
            firstBatch = sequence;
            lastBatch = sequence + 1;
        }
        float sink = p.IsSlope != 0 ? 0f : p.SinkLogits[head], sum = 0f;
        for (int batch = firstBatch; batch < lastBatch; batch++)
        {
            long rows = ((long)batch * p.NumHeads + head) * p.QueryLength;
            for (int query = first + Group.IdxX; query < end; query += Threads)
            {
                if (p.IsSlope != 0)
                {
                    sum += p.RowSlopes[rows + query];
                }
                else
                {
                    float lse = p.Lse[batch * p.LseBatchStride + head * p.LseHeadStride + query];
                    if (lse != float.NegativeInfinity && sink != float.NegativeInfinity)
                        sum -= XMath.Exp2((sink - lse) * ScoreOptions.Log2E) * p.Delta[rows + query];
                }
            }
        }
        parts[Group.IdxX] = sum;
        Group.Barrier();
        if (Group.IdxX == 0)
        {
            float total = 0f;
            for (int i = 0; i < Threads; i++)
                total += parts[i];
            p.Target[sequence * p.TargetStride + head] = total;
        }
    }
}
