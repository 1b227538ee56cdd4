using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="PartialStates"/> on the tensor cores of Hopper, for logits that are products and a temperature alone, and losses without
/// weights of classes. One group has 128 positions and goes through tiles of 256 classes; while it adds one tile up
/// (<see cref="LogSumExpTile"/>), the next one is copied. Shared memory and registers: <see cref="WgmmaProduct"/>.
/// 2 · positions · vocabSize · hiddenSize FLOPs.
/// </summary>
internal static class LogSumExpWgmma
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public TensorMap Hidden, Classifier;    // [positions, hiddenSize], [vocabSize, hiddenSize]
        public LogSumExpTile.Parameters Tile;
    }

    /// <summary>The kernel; one group for each tile of positions of each part.</summary>
    public static void CrossEntropyLogSumExpWgmma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement
    {
        int warpGroup = WgmmaProduct.Begin<TElement>(0, 0);
        int row0 = Registers.Pin(Grid.IdxX % p.Tile.RowTiles * ProductTile.BlockM), part = Registers.Pin(Grid.IdxX / p.Tile.RowTiles);
        int firstClass = Registers.Pin(part * p.Tile.ClassesOfPart), left = p.Tile.VocabSize - firstClass;
        int endClass = Registers.Pin(firstClass + (left < p.Tile.ClassesOfPart ? left : p.Tile.ClassesOfPart));
        if (warpGroup == 0)
        {
            WgmmaProduct.BeginCopies();
            if (Group.IdxX == 0)
                WgmmaProduct.CopyTiles(row0, firstClass, endClass, p.Tile.HiddenSize);
        }
        else
        {
            WgmmaProduct.BeginProducts(warpGroup - 1);
            int lane = Group.IdxX & 31, row = row0 + 64 * (warpGroup - 1) + 16 * (Group.IdxX >> 5 & 3) + MatrixLanes.ResultRow(lane);
            int column = MatrixLanes.ResultColumn(lane);
            LogSumExpTile.Begin(ref p.Tile, row, column);
            int step = 0, steps = Registers.Pin((p.Tile.HiddenSize + WgmmaProduct.Depth - 1) / WgmmaProduct.Depth);
            for (int class0 = firstClass; class0 < endClass; class0 += ProductTile.BlockN)
            {
                step = WgmmaProduct.MultiplyTile(step, steps);
                LogSumExpTile.Add(class0, endClass, column);
            }
            LogSumExpTile.Merge();
            LogSumExpTile.Store(ref p.Tile, part, row, column);
        }
    }
}
