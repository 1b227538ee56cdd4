using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.FeedForward;

/// <summary>The gradients of the router: first those of the logits and of the hidden rows, token by token, then sums over tokens in their order.</summary>
internal static class RouterGradients
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Shared memory of <see cref="FeedForwardRouteSlopes"/>.</summary>
    public const int SlopeBytes = sizeof(float) * (GroupReduce.ScratchSize + Router.MaxBlocks);

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public TypedTensor Hidden;            // [tokens, hiddenSize]
        public TypedTensor GradHidden;        // [tokens, hiddenSize]
        public MatrixView<float> Weight;      // [blocks, hiddenSize]
        public MatrixView<float> Gates;       // [tokens, blocks]
        public MatrixView<float> GradGates;   // [tokens, blocks]
        public MatrixView<float> GradWeight;  // [blocks, hiddenSize]
        public ArrayView<int> Counts;         // [blocks]
        public ArrayView<float> Slopes;       // [tokens, blocks]: the gradients of the logits
        public int HiddenSize, Blocks, Tokens, ColumnGroups, HasGradGates, HasGradHidden, HasBalance;
        public float BalanceFactor;           // α · blocks / tokens
        public float Choices;                 // tokens · activeBlocks
    }

    /// <summary>The gradients of logits and hidden rows; one group a token.</summary>
    public static void FeedForwardRouteSlopes(Parameters p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize), slopes = SharedMemory.Allocate<float>(Router.MaxBlocks);
        int token = Grid.IdxX, thread = Group.IdxX;
        long gates = token * p.Gates.RowStride;
        float sum = 0f, mean = 0f;
        if (p.HasBalance != 0)
        {
            for (int j = thread; j < p.Blocks; j += Threads)
            {
                sum += p.Gates.Data[gates + j];
                mean += p.Counts[j] / p.Choices * p.Gates.Data[gates + j];
            }
            sum = GroupReduce.Sum(scratch, sum);
            mean = GroupReduce.Sum(scratch, mean);
        }
        for (int j = thread; j < p.Blocks; j += Threads)
        {
            float gate = p.Gates.Data[gates + j], slope = 0f;
            if (p.HasGradGates != 0)
                slope = p.GradGates.Data[token * p.GradGates.RowStride + j];
            if (p.HasBalance != 0 && sum != 0f)
                slope += p.BalanceFactor * (p.Counts[j] / p.Choices - mean / sum) / sum;
            slope *= gate * (1f - gate);
            slopes[j] = slope;
            p.Slopes[(long)token * p.Blocks + j] = slope;
        }
        Group.Barrier();
        int columns = p.HasGradHidden != 0 ? p.HiddenSize : 0;
        for (int c = 4 * thread; c < columns; c += 4 * Threads)
        {
            long at = token * p.GradHidden.TokenStride + c;
            Float4 row = p.GradHidden.Load(at, columns - c);
            for (int j = 0; j < p.Blocks; j++)
                row = Float4.MultiplyAdd(
                    slopes[j], Quads.Load<float, Float32Storage>(p.Weight.Data, j * p.Weight.RowStride + c, columns - c, p.Weight.HasQuads), row);
            p.GradHidden.Store(at, columns - c, row);
        }
    }

    /// <summary>The gradient of the weight; one group for 128 columns of a block.</summary>
    public static void FeedForwardRouteWeight(Parameters p)
    {
        int block = Grid.IdxX / p.ColumnGroups, column = Grid.IdxX % p.ColumnGroups * Threads + Group.IdxX;
        if (column < p.HiddenSize)
        {
            float sum = 0f;
            for (int t = 0; t < p.Tokens; t++)
                sum += p.Slopes[(long)t * p.Blocks + block] * p.Hidden.LoadOne(t * p.Hidden.TokenStride + column);
            p.GradWeight.Data[block * p.GradWeight.RowStride + column] = sum;
        }
    }
}
