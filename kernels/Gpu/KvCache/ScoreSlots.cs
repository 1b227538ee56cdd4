using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// Scores of the slots of each cell of a cache from the attention that its query heads paid them: aggregated over the heads of the
/// group, smoothed over neighbours, the first and last slots protected with +∞ and those from the length on −∞. One thread has one
/// slot and reads groupSize · poolSize numbers, all but the first of them from cache.
/// </summary>
internal static class ScoreSlots
{
    /// <summary>Threads of a group, and slots.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>The mean of numbers; also the mean of a pool.</summary>
    public const int Mean = 0;

    /// <summary>The largest.</summary>
    public const int Max = 1;

    /// <summary>The sum; of a pool of one slot, that slot.</summary>
    public const int Sum = 2;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public MatrixView<float> ColumnMass;   // [numHeads, slots]
        public MatrixView<float> Scores;       // [cells, slots]
        public ArrayView<int> Lengths;         // [cells]
        public int Slots, BlocksOfCell, GroupSize, Aggregate, Pooling, PoolSize, SinkCount, RecentCount;
        public float Scale;                    // divided by the group's size for a mean
    }

    /// <summary>The kernel; blocksOfCell groups a cell.</summary>
    public static void ScoreCells(Parameters p)
    {
        int cell = Grid.IdxX / p.BlocksOfCell, slot = Grid.IdxX % p.BlocksOfCell * Threads + Group.IdxX;
        int length = p.Lengths[cell], scored = length - p.RecentCount, reach = p.PoolSize / 2;
        float score = float.NegativeInfinity;
        if (slot < length)
        {
            score = float.PositiveInfinity;
            if (slot >= p.SinkCount && slot < scored)
            {
                int first = slot - reach > 0 ? slot - reach : 0, end = slot + reach + 1 < scored ? slot + reach + 1 : scored;
                score = p.Pooling == Max ? float.NegativeInfinity : 0f;
                for (int j = first; j < end; j++)
                {
                    float value = AggregateHeads(ref p, cell, j);
                    score = p.Pooling != Max ? score + value : value > score ? value : score;
                }
                score = p.Pooling == Mean ? score / p.PoolSize : score;
            }
        }
        if (slot < p.Slots)
            p.Scores.Data[cell * p.Scores.RowStride + slot] = score;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float AggregateHeads(ref Parameters p, int cell, int slot)
    {
        long offset = cell * p.GroupSize * p.ColumnMass.RowStride + slot;
        float result = p.ColumnMass.Data[offset];
        for (int g = 1; g < p.GroupSize; g++)
        {
            offset += p.ColumnMass.RowStride;
            float value = p.ColumnMass.Data[offset];
            result = p.Aggregate != Max ? result + value : value > result ? value : result;
        }
        return result * p.Scale;
    }
}
