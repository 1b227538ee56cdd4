using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="LogitGradients"/> on the tensor cores of Hopper, for logits that are products and a temperature alone: the
/// gradients of a chunk of the vocabulary. One group has 128 positions and goes through tiles of 256 classes; while it writes one tile
/// (<see cref="LogitGradientTile"/>), the next one is copied. 2 · positions · classes · hiddenSize FLOPs.
/// </summary>
internal static class LogitGradientsWgmma
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public TensorMap Hidden, Classifier;    // [positions, hiddenSize], [vocabSize, hiddenSize]
        public LogitGradientTile.Parameters Tile;
    }

    /// <summary>The kernel; one group for each tile of positions of each part of the chunk.</summary>
    public static void CrossEntropyLogitGradientsWgmma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement
    {
        int warpGroup = WgmmaProduct.Begin<TElement>(0, 0);
        int rowTile = Registers.Pin(Grid.IdxX % p.Tile.RowTiles), row0 = rowTile * ProductTile.BlockM;
        int firstClass = Registers.Pin(p.Tile.FirstPlace + Grid.IdxX / p.Tile.RowTiles * p.Tile.ClassesOfPart), left = p.Tile.EndPlace - firstClass;
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
            int lane = Group.IdxX & 31, warp = Registers.Uniform(Group.IdxX - 128 >> 5), row = row0 + 16 * warp + MatrixLanes.ResultRow(lane);
            int column = Registers.Pin(MatrixLanes.ResultColumn(lane));
            long gradients = LogitGradientTile.Begin(ref p.Tile, row, column);
            int step = 0, steps = Registers.Pin((p.Tile.HiddenSize + WgmmaProduct.Depth - 1) / WgmmaProduct.Depth);
            for (int class0 = firstClass; class0 < endClass; class0 += ProductTile.BlockN)
            {
                step = WgmmaProduct.MultiplyTile(step, steps);
                LogitGradientTile.Store(ref p.Tile, gradients, rowTile, class0, endClass, column, warp);
            }
        }
    }
}
