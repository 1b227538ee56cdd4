using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="LogitGradients"/> on the tensor cores of Ampere and later, for logits that are products and a temperature alone: the
/// gradients of a chunk of the vocabulary. One group has 128 positions and goes through tiles of 256 classes; while it writes one tile
/// (<see cref="LogitGradientTile"/>), the next one's first steps are copied. 2 · positions · classes · hiddenSize FLOPs.
/// </summary>
internal static class LogitGradientsMma
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public MatrixAddress Hidden, Classifier;    // [positions, hiddenSize], [vocabSize, hiddenSize]
        public LogitGradientTile.Parameters Tile;
    }

    /// <summary>The kernel; one group for each tile of positions of each part of the chunk.</summary>
    public static void CrossEntropyLogitGradientsMma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement
    {
        MmaProduct.Begin<TElement>(0, 0);
        int rowTile = Registers.Pin(Grid.IdxX % p.Tile.RowTiles), row0 = rowTile * ProductTile.BlockM;
        int firstClass = Registers.Pin(p.Tile.FirstPlace + Grid.IdxX / p.Tile.RowTiles * p.Tile.ClassesOfPart), left = p.Tile.EndPlace - firstClass;
        int endClass = Registers.Pin(firstClass + (left < p.Tile.ClassesOfPart ? left : p.Tile.ClassesOfPart));
        int column = Registers.Pin(MmaProduct.Column), warp = Registers.Uniform(Group.IdxX >> 5);
        long gradients = LogitGradientTile.Begin(ref p.Tile, row0 + MmaProduct.Row, column);
        int copyClass = firstClass, copyDepth = 0;
        for (int i = 0; i < MmaProduct.StepsAhead; i++)
            MmaProduct.CopyOfTiles(ref p.Hidden, ref p.Classifier, row0, ref copyClass, endClass, ref copyDepth);
        for (int class0 = firstClass; class0 < endClass; class0 += ProductTile.BlockN)
        {
            MmaProduct.MultiplyTile(ref p.Hidden, ref p.Classifier, row0, ref copyClass, endClass, ref copyDepth);
            LogitGradientTile.Store(ref p.Tile, gradients, rowTile, class0, endClass, column, warp);
        }
    }
}
