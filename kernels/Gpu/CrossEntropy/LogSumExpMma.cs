using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="PartialStates"/> on the tensor cores of Ampere and later, for logits that are products and a temperature alone, and losses
/// without weights of classes. One group has 128 positions and goes through tiles of 256 classes; while it adds one tile up
/// (<see cref="LogSumExpTile"/>), the next one's first steps are copied. Shared memory and registers: <see cref="MmaProduct"/>.
/// 2 · positions · vocabSize · hiddenSize FLOPs.
/// </summary>
internal static class LogSumExpMma
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public MatrixAddress Hidden, Classifier;    // [positions, hiddenSize], [vocabSize, hiddenSize]
        public LogSumExpTile.Parameters Tile;
    }

    /// <summary>The kernel; one group for each tile of positions of each part.</summary>
    public static void CrossEntropyLogSumExpMma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement
    {
        MmaProduct.Begin<TElement>(0, 0);
        int row0 = Registers.Pin(Grid.IdxX % p.Tile.RowTiles * ProductTile.BlockM), part = Registers.Pin(Grid.IdxX / p.Tile.RowTiles);
        int firstClass = Registers.Pin(part * p.Tile.ClassesOfPart), left = p.Tile.VocabSize - firstClass;
        int endClass = Registers.Pin(firstClass + (left < p.Tile.ClassesOfPart ? left : p.Tile.ClassesOfPart));
        int column = Registers.Pin(MmaProduct.Column), row = Registers.Pin(row0 + MmaProduct.Row);
        LogSumExpTile.Begin(ref p.Tile, row, column);
        int copyClass = firstClass, copyDepth = 0;
        for (int i = 0; i < MmaProduct.StepsAhead; i++)
            MmaProduct.CopyOfTiles(ref p.Hidden, ref p.Classifier, row0, ref copyClass, endClass, ref copyDepth);
        for (int class0 = firstClass; class0 < endClass; class0 += ProductTile.BlockN)
        {
            MmaProduct.MultiplyTile(ref p.Hidden, ref p.Classifier, row0, ref copyClass, endClass, ref copyDepth);
            LogSumExpTile.Add(class0, endClass, column);
        }
        LogSumExpTile.Merge();
        LogSumExpTile.MergeWarpsOfRow(row - row0, column);
        LogSumExpTile.Store(ref p.Tile, part, row, column);
    }
}
