using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>The gradients of cross-entropy that are no products: that of the bias, and the zeros of rows that do not count.</summary>
internal static class GradientRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = LogitTile.Threads;

    /// <summary>The arguments of <see cref="CrossEntropyGradBias"/>.</summary>
    internal struct BiasParameters
    {
        public ArrayView<float> Gradients;  // [classTiles, rowTiles, 64 classes, 64 positions]
        public ArrayView<int> Count, Order;
        public TypedTensor Target;          // [vocabSize]
        public int HasOrder, VocabSize, RowTiles, FirstPlace, EndPlace;
    }

    /// <summary>The arguments of <see cref="CrossEntropyClear"/>.</summary>
    internal struct ClearParameters
    {
        public TypedTensor Target;          // its token stride is that of rows
        public int Columns;
    }

    /// <summary>gradBias_v = Σ dx over the positions, tile after tile; one group for each tile of classes of a chunk.</summary>
    public static void CrossEntropyGradBias(BiasParameters p)
    {
        int place = p.FirstPlace + Grid.IdxX * LogitTile.Size + Group.IdxX, row = place;
        if (place < p.EndPlace && p.HasOrder != 0)
            row = p.Order[place];
        float total = 0f;
        for (int tile = 0; tile * LogitTile.Size < p.Count[0]; tile++)
        {
            long quad = (((long)Grid.IdxX * p.RowTiles + tile) * LogitTile.Size + Group.IdxX) * (LogitTile.Size / 4);
            Float4 sum = default;
            for (int i = 0; i < LogitTile.Size / 4; i++)
                sum = Float4.Add(sum, Float32Storage.Load4(p.Gradients, quad + i));
            total += Float4.SumAcross(sum);
        }
        if (place < p.EndPlace && row >= 0 && row < p.VocabSize)
            p.Target.StoreOne(row, total);
    }

    /// <summary>Fills a gradient with 0; one group a row.</summary>
    public static void CrossEntropyClear(ClearParameters p)
    {
        for (int column = Group.IdxX; column < p.Columns; column += Threads)
            p.Target.StoreOne(Grid.IdxX * p.Target.TokenStride + column, 0f);
    }
}
