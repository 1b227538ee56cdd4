using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="GradientProduct"/> on the tensor cores of Hopper: a chunk's gradients G of the logits, [positions, classes], times the
/// classifier, or transposed times the hidden rows:
/// <code>
/// gradHidden += G · classifier        gradClassifier = Gᵀ · hidden
/// </code>
/// One group makes 128 rows × 256 columns of the result (<see cref="GradientProductTile"/>). Tiles that a filter leaves out are not
/// multiplied. 2 · positions · classes · hiddenSize FLOPs.
/// </summary>
internal static class GradientProductWgmma
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public TensorMap Gradients, Other;  // [positions, classes]; classifier or hidden rows, [terms, hiddenSize]
        public GradientProductTile.Parameters Tile;
    }

    /// <summary>The kernel for gradHidden; one group for each tile of the result.</summary>
    public static void CrossEntropyGradHiddenWgmma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement =>
        Run<TElement>(ref p, WgmmaProduct.Begin<TElement>(0, 1), 0);

    /// <summary>The kernel for gradClassifier; one group for each tile of the result.</summary>
    public static void CrossEntropyGradClassifierWgmma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement =>
        Run<TElement>(ref p, WgmmaProduct.Begin<TElement>(1, 1), 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Run<TElement>(ref Parameters p, int warpGroup, int ownsClasses) where TElement : struct, ITensorCoreElement
    {
        int column0 = Registers.Pin(Grid.IdxX % p.Tile.ColumnTiles * ProductTile.BlockN), tile = Registers.Pin(Grid.IdxX / p.Tile.ColumnTiles);
        int row0 = tile * ProductTile.BlockM;
        if (warpGroup == 0)
        {
            WgmmaProduct.BeginCopies();
            if (p.Tile.IsKept == 0)
            {
                if (Group.IdxX == 0)
                {
                    for (int term = 0, step = 0; term < p.Tile.Terms; term += WgmmaProduct.Depth)
                        WgmmaProduct.Copy(step++, row0, column0, term, p.Tile.TermOffset + term);
                }
            }
            else if (Group.IdxX < 32)
            {
                int step = 0, kept = 0;
                for (int term = GradientProductTile.NextKept(ref p.Tile, ref kept, tile, 0, ownsClasses); term < p.Tile.Terms;
                    term = GradientProductTile.NextKept(ref p.Tile, ref kept, tile, term + WgmmaProduct.Depth, ownsClasses))
                {
                    if (Group.IdxX == 0)
                        WgmmaProduct.Copy(step, row0, column0, term, p.Tile.TermOffset + term);
                    step++;
                }
            }
        }
        else
        {
            WgmmaProduct.BeginProducts(warpGroup - 1);
            int step = 0, kept = 0, term = p.Tile.IsKept == 0 ? 0 : GradientProductTile.NextKept(ref p.Tile, ref kept, tile, 0, ownsClasses);
            if (term < p.Tile.Terms)
            {
                WgmmaProduct.MultiplyFirst(step++);
                term += WgmmaProduct.Depth;
                if (p.Tile.IsKept == 0)
                {
                    for (; term < p.Tile.Terms; term += WgmmaProduct.Depth)
                        WgmmaProduct.Multiply(step++);
                }
                else
                {
                    for (term = GradientProductTile.NextKept(ref p.Tile, ref kept, tile, term, ownsClasses); term < p.Tile.Terms;
                        term = GradientProductTile.NextKept(ref p.Tile, ref kept, tile, term + WgmmaProduct.Depth, ownsClasses))
                    {
                        WgmmaProduct.Multiply(step++);
                    }
                }
                WgmmaProduct.Finish(step);
            }
            else
            {
                CudaAsm.Emit("$for i 0 128\nmov.f32 d$(i), 0f00000000;\n$end");
            }
            int lane = Group.IdxX & 31, row = row0 + (Group.IdxX - 128 >> 5) * 16 + MatrixLanes.ResultRow(lane);
            GradientProductTile.Store(ref p.Tile, row, column0 + MatrixLanes.ResultColumn(lane));
        }
    }
}
