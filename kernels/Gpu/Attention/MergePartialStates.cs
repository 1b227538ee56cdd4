using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Merges attention over parts of the keys into attention over all of them:
/// <code>
/// m = max_s lse_s    w_s = 2^(lse_s − m)    output = Σ_s w_s · o_s / Σ_s w_s    lse = m + log2 Σ_s w_s
/// </code>
/// A part without a visible key has lse −∞ and weight 0; when all have, the output is 0 and lse −∞. One group of 64 threads
/// merges one row, a thread four columns at a time; the partial lse are base 2, the one that is written is natural. Reads
/// splits · (valueHeadDim + 1) floats a row.
/// </summary>
internal static class MergePartialStates
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>Most splits: their weights are kept in shared memory.</summary>
    public const int MaxSplits = 128;

    /// <summary>ln 2, which turns a base-2 logarithm into a natural one.</summary>
    public const float Ln2 = 0.693147181f;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public ArrayView<float> PartialOutput;  // [numSplits, batchSize, numHeads, queryLength, valueHeadDim]
        public ArrayView<float> PartialLse;     // [numSplits, batchSize, numHeads, queryLength], base 2
        public TypedTensor Output;              // [batchSize, queryLength, numHeads, valueHeadDim]
        public ArrayView<float> Lse;            // [batchSize, numHeads, queryLength], natural log
        public HeadEpilogue Epilogue;
        public long LseBatchStride, LseHeadStride, Rows;
        public int HasLse, NumSplits, NumHeads, QueryLength, ValueHeadDim;
    }

    /// <summary>The kernel; one group for each query row of each head of each sequence.</summary>
    public static void MergeSplits(Parameters p)
    {
        ArrayView<float> weights = SharedMemory.Allocate<float>(MaxSplits);
        int row = Grid.IdxX, query = row % p.QueryLength, head = row / p.QueryLength % p.NumHeads, batch = row / p.QueryLength / p.NumHeads;
        float max = float.NegativeInfinity;
        for (int s = 0; s < p.NumSplits; s++)
        {
            float lse = p.PartialLse[s * p.Rows + row];
            max = lse > max ? lse : max;
        }
        float shift = max == float.NegativeInfinity ? 0f : max; // −∞ − (−∞) would be NaN
        for (int s = Group.IdxX; s < p.NumSplits; s += Threads)
            weights[s] = XMath.Exp2(p.PartialLse[s * p.Rows + row] - shift);
        Group.Barrier();
        float total = 0f;
        for (int s = 0; s < p.NumSplits; s++)
            total += weights[s];
        float inverse = total == 0f ? 0f : 1f / total;
        int hasQuads = p.ValueHeadDim % 4 == 0 ? 1 : 0;
        for (int column = 4 * Group.IdxX; column < p.ValueHeadDim; column += 4 * Threads)
        {
            Float4 sum = default;
            int valid = p.ValueHeadDim - column;
            for (int s = 0; s < p.NumSplits; s++)
            {
                long offset = (s * p.Rows + row) * p.ValueHeadDim + column;
                sum = Float4.MultiplyAdd(weights[s], Quads.Load<float, Float32Storage>(p.PartialOutput, offset, valid, hasQuads), sum);
            }
            p.Output.Store(
                p.Output.Offset(batch, query, head) + column, valid, p.Epilogue.Apply(head, column, valid, Float4.Scale(sum, inverse)));
        }
        if (p.HasLse != 0 && Group.IdxX == 0)
        {
            p.Lse[batch * p.LseBatchStride + head * p.LseHeadStride + query] =
                total == 0f ? float.NegativeInfinity : shift * Ln2 + XMath.Log(total);
        }
    }
}
