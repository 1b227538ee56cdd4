using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="GradientProduct"/> on the tensor cores of Ampere and later: a chunk's gradients G of the logits, [positions, classes], times the
/// classifier, or transposed times the hidden rows:
/// <code>
/// gradHidden += G · classifier        gradClassifier = Gᵀ · hidden
/// </code>
/// One group makes 128 rows × 256 columns of the result (<see cref="GradientProductTile"/>). Tiles that a filter leaves out are not
/// multiplied. 2 · positions · classes · hiddenSize FLOPs.
/// </summary>
internal static class GradientProductMma
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public MatrixAddress Gradients, Other;  // [positions, classes]; classifier or hidden rows, [terms, hiddenSize]
        public GradientProductTile.Parameters Tile;
    }

    /// <summary>The kernel for gradHidden; one group for each tile of the result.</summary>
    public static void CrossEntropyGradHiddenMma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement =>
        Run<TElement>(ref p, 0);

    /// <summary>The kernel for gradClassifier; one group for each tile of the result.</summary>
    public static void CrossEntropyGradClassifierMma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement =>
        Run<TElement>(ref p, 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Run<TElement>(ref Parameters p, int ownsClasses) where TElement : struct, ITensorCoreElement
    {
        MmaProduct.Begin<TElement>(ownsClasses, 1);
        int column0 = Registers.Pin(Grid.IdxX % p.Tile.ColumnTiles * ProductTile.BlockN), tile = Registers.Pin(Grid.IdxX / p.Tile.ColumnTiles);
        int row0 = tile * ProductTile.BlockM;
        int kept = 0, copied = 0, term = p.Tile.IsKept == 0 ? 0 : GradientProductTile.NextKept(ref p.Tile, ref kept, tile, 0, ownsClasses);
        MmaProduct.BeginTile();
        for (int step = -MmaProduct.StepsAhead; step < 0 || step < copied; step++)
        {
            // While the first steps are copied there is nothing to multiply.
            if (step >= 0)
                MmaProduct.Await();
            if (term < p.Tile.Terms)
            {
                MmaProduct.CopyLeft(ownsClasses, ref p.Gradients, ownsClasses != 0 ? term : row0, ownsClasses != 0 ? row0 : term);
                MmaProduct.CopyRight(1, ref p.Other, p.Tile.TermOffset + term, column0);
                copied++;
                term += MmaProduct.Depth;
                if (p.Tile.IsKept != 0)
                    term = GradientProductTile.NextKept(ref p.Tile, ref kept, tile, term, ownsClasses);
            }
            MmaProduct.EndCopy();
            if (step >= 0)
                MmaProduct.Multiply();
        }
        GradientProductTile.Store(ref p.Tile, row0 + MmaProduct.Row, column0 + MmaProduct.Column);
    }
}
