using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.FeedForward;

/// <summary>
/// The sum of what a token's blocks made, in their order: <c>target_t = bias + Σ_i c_ti · rows[place(t, i)]</c>. One group for 512 columns of
/// a token, four for each thread.
/// </summary>
internal static class CombineRows
{
    /// <summary>Columns a group.</summary>
    public const int Columns = 4 * GroupReduce.Threads;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public BlockLists Lists;
        public MatrixView<float> Rows;   // [places, columns]
        public MatrixView<float> Gates;  // [tokens, blocks]
        public TypedTensor Bias;         // [columns]
        public TypedTensor Target;       // [tokens, columns]
        public float Scale;              // blocks / activeBlocks
        public int HasGates, HasBias, ColumnCount, ColumnGroups;
    }

    /// <summary>The kernel.</summary>
    public static void FeedForwardCombine(Parameters p)
    {
        int token = Grid.IdxX / p.ColumnGroups, column = Grid.IdxX % p.ColumnGroups * Columns + 4 * Group.IdxX, valid = p.ColumnCount - column;
        var sum = new Float4(0f, 0f, 0f, 0f);
        if (p.HasBias != 0)
            sum = p.Bias.Load(column, valid);
        for (int i = 0; i < p.Lists.ActiveBlocks; i++)
        {
            int entry = token * p.Lists.ActiveBlocks + i;
            float coefficient = 1f;
            if (p.HasGates != 0)
                coefficient = p.Scale * p.Gates.Data[token * p.Gates.RowStride + p.Lists.BlockOf(entry)];
            long row = p.Lists.Places[entry] * p.Rows.RowStride + column;
            sum = Float4.MultiplyAdd(coefficient, Quads.Load<float, Float32Storage>(p.Rows.Data, row, valid, p.Rows.HasQuads), sum);
        }
        p.Target.Store(token * p.Target.TokenStride + column, valid, sum);
    }
}
