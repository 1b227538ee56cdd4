using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.FeedForward;

/// <summary>
/// The router: gates, the blocks that each token uses, how many tokens use each, and the balance loss. A block is selected when fewer than
/// activeBlocks others have a larger logit, or the same and a lower index: every thread decides on blocks of its own.
/// </summary>
internal static class Router
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>The most blocks: their logits are in shared memory.</summary>
    public const int MaxBlocks = 1024;

    /// <summary>Shared memory of <see cref="FeedForwardRoute"/>.</summary>
    public const int RouteBytes = sizeof(float) * (GroupReduce.ScratchSize + 2 * MaxBlocks);

    /// <summary>Shared memory of <see cref="FeedForwardCounts"/>.</summary>
    public const int CountBytes = sizeof(float) * (GroupReduce.ScratchSize + Threads);

    /// <summary>Shared memory of <see cref="FeedForwardBalance"/>.</summary>
    public const int BalanceBytes = sizeof(float) * GroupReduce.ScratchSize;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public TypedTensor Hidden;         // [tokens, hiddenSize]
        public MatrixView<float> Weight;   // [blocks, hiddenSize]
        public MatrixView<float> Gates;    // [tokens, blocks]
        public MatrixView<int> Selected;   // [tokens, activeBlocks]
        public ArrayView<float> Bias;      // [blocks]
        public ArrayView<float> Sums;      // [tokens]: of each token's gates
        public ArrayView<float> Shares;    // [blocks]: count · Σ_t gates / Σ gates
        public ArrayView<float> BalanceLoss;
        public ArrayView<int> Counts;      // [blocks]
        public int Tokens, HiddenSize, Blocks, ActiveBlocks, HasBias;
        public float BalanceFactor;        // α · blocks / (tokens² · activeBlocks)
    }

    /// <summary>Gates and selected blocks; one group a token.</summary>
    public static void FeedForwardRoute(Parameters p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize), logits = SharedMemory.Allocate<float>(MaxBlocks);
        ArrayView<int> isSelected = SharedMemory.Allocate<int>(MaxBlocks);
        int token = Grid.IdxX, thread = Group.IdxX;
        long hidden = token * p.Hidden.TokenStride;
        for (int j = 0; j < p.Blocks; j++)
        {
            float part = 0f;
            for (int c = 4 * thread; c < p.HiddenSize; c += 4 * Threads)
            {
                Float4 x = p.Hidden.Load(hidden + c, p.HiddenSize - c);
                part += Float4.Dot(x, Quads.Load<float, Float32Storage>(p.Weight.Data, j * p.Weight.RowStride + c, p.HiddenSize - c, p.Weight.HasQuads));
            }
            part = GroupReduce.Sum(scratch, part);
            if (thread == 0)
                logits[j] = p.HasBias != 0 ? part + p.Bias[j] : part;
        }
        Group.Barrier();
        float sum = 0f;
        for (int j = thread; j < p.Blocks; j += Threads)
        {
            float logit = logits[j], gate = UnitRows.Sigmoid(logit);
            sum += gate;
            p.Gates.Data[token * p.Gates.RowStride + j] = gate;
            int larger = 0;
            for (int k = 0; k < p.Blocks; k++)
                larger += Precedes(logits[k], logit, k < j) ? 1 : 0;
            isSelected[j] = larger < p.ActiveBlocks ? 1 : 0;
        }
        sum = GroupReduce.Sum(scratch, sum);
        if (thread == 0)
            p.Sums[token] = sum;
        for (int j = thread; j < p.Blocks; j += Threads)
        {
            int place = 0;
            for (int k = 0; k < j; k++)
                place += isSelected[k];
            if (isSelected[j] != 0)
                p.Selected.Data[token * p.Selected.RowStride + place] = j;
        }
    }

    /// <summary>Counts, and each block's part of the balance loss; one group a block.</summary>
    public static void FeedForwardCounts(Parameters p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        ArrayView<int> counts = SharedMemory.Allocate<int>(Threads);
        int block = Grid.IdxX, thread = Group.IdxX, count = 0;
        float share = 0f;
        for (int t = thread; t < p.Tokens; t += Threads)
        {
            for (int i = 0; i < p.ActiveBlocks; i++)
                count += p.Selected.Data[t * p.Selected.RowStride + i] == block ? 1 : 0;
            float sum = p.Sums[t];
            if (sum != 0f)
                share += p.Gates.Data[t * p.Gates.RowStride + block] / sum;
        }
        counts[thread] = count;
        share = GroupReduce.Sum(scratch, share);
        if (thread == 0)
        {
            count = 0;
            for (int i = 0; i < Threads; i++)
                count += counts[i];
            p.Counts[block] = count;
            p.Shares[block] = count * share;
        }
    }

    /// <summary>The balance loss; one group.</summary>
    public static void FeedForwardBalance(Parameters p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        float sum = 0f;
        for (int j = Group.IdxX; j < p.Blocks; j += Threads)
            sum += p.Shares[j];
        sum = GroupReduce.Sum(scratch, sum);
        if (Group.IdxX == 0)
            p.BalanceLoss[0] = p.BalanceFactor * sum;
    }

    // Whether a logit comes before another; a NaN counts as −∞.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Precedes(float a, float b, bool isLower)
    {
        a = float.IsNaN(a) ? float.NegativeInfinity : a;
        b = float.IsNaN(b) ? float.NegativeInfinity : b;
        return a > b || (a == b && isLower);
    }
}
