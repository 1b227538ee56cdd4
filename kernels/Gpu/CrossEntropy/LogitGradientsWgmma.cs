using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="LogitGradients"/> on the tensor cores of Hopper, for logits that are products and a temperature alone: the gradients of
/// a chunk of the vocabulary, rounded to 16 bits since the products with them are made of such, and per tile whether a filter keeps
/// it. One group has 128 positions and goes through tiles of 256 classes; while it writes one tile, the next one is copied. Positions
/// that do not count, and classes past the end, have gradient 0. 2 · positions · classes · hiddenSize FLOPs.
/// </summary>
internal static class LogitGradientsWgmma
{
    /// <summary>Warps that say each for itself whether their rows of a tile are kept.</summary>
    public const int FlagsOfTile = 8;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public TensorMap Hidden, Classifier;    // [positions, hiddenSize], [vocabSize, hiddenSize]
        public long Gradients;                  // 16 bits [rowTiles · 128, GradientStride]
        public long IsKept;                     // i32 [classTiles, rowTiles, FlagsOfTile]
        public long Rows;                       // f32 [rowTiles · 128, 4]: RowNumbers
        public int GradientStride, HiddenSize, RowTiles, FirstPlace, EndPlace, ClassesOfPart;
        public float InverseTemperature, FilterEpsilon;
    }

    /// <summary>The kernel; one group for each tile of positions of each part of the chunk.</summary>
    public static void CrossEntropyLogitGradientsWgmma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement
    {
        int warpGroup = WgmmaProduct.Begin<TElement>(0, 0);
        int rowTile = Registers.Pin(Grid.IdxX % p.RowTiles), row0 = rowTile * WgmmaProduct.BlockM;
        int firstClass = Registers.Pin(p.FirstPlace + Grid.IdxX / p.RowTiles * p.ClassesOfPart), left = p.EndPlace - firstClass;
        int endClass = Registers.Pin(firstClass + (left < p.ClassesOfPart ? left : p.ClassesOfPart));
        if (warpGroup == 0)
        {
            WgmmaProduct.BeginCopies();
            if (Group.IdxX == 0)
                WgmmaProduct.CopyTiles(row0, firstClass, endClass, p.HiddenSize);
        }
        else
        {
            WgmmaProduct.BeginProducts(warpGroup - 1);
            int lane = Group.IdxX & 31, warp = Registers.Uniform(Group.IdxX - 128 >> 5), row = row0 + 16 * warp + MatrixLanes.ResultRow(lane);
            int column = Registers.Pin(MatrixLanes.ResultColumn(lane));
            CudaAsm.Emit(ReadRows, 1.44269504f * p.InverseTemperature, p.Rows + 16L * row, p.FilterEpsilon, column);
            long gradients = Registers.Pin(p.Gradients + 2 * ((long)row * p.GradientStride + column - p.FirstPlace));
            int rowBytes = Registers.Pin(16 * p.GradientStride);
            int step = 0, steps = Registers.Pin((p.HiddenSize + WgmmaProduct.Depth - 1) / WgmmaProduct.Depth);
            for (int class0 = firstClass; class0 < endClass; class0 += WgmmaProduct.BlockN)
            {
                step = WgmmaProduct.MultiplyTile(step, steps);
                CudaAsm.Emit(Differentiate, class0, endClass - class0 - column);
                CudaAsm.Emit(Store, gradients + 2L * class0, (long)rowBytes);
                long tile = (long)((class0 - p.FirstPlace) / WgmmaProduct.BlockN) * p.RowTiles + rowTile;
                CudaAsm.Emit("@leads st.global.b32 [%0], isKept;", p.IsKept + 4 * (tile * FlagsOfTile + warp));
            }
        }
    }

    // %0 log2 e / temperature, %1 address of the upper row's numbers, %2 the filter's ε, %3 the thread's first column.
    private const string ReadRows = """
        .reg .f32 lse<2>, weightScale<2>, labelScale<2>, threshold<2>, scale;
        .reg .b32 target<2>, isKept;
        mov.f32 scale, %0;
        {
        .reg .f32 bits;
        $for r 0 2
        ld.global.v4.f32 {lse$(r), weightScale$(r), labelScale$(r), bits}, [%1+$(128*r)];
        mov.b32 target$(r), bits;
        sub.s32 target$(r), target$(r), %3;
        neg.f32 lse$(r), lse$(r);
        abs.f32 threshold$(r), labelScale$(r);
        mul.f32 threshold$(r), threshold$(r), %2;
        $end
        }
        """;

    // %0 first class of the tile, %1 classes from this thread's first column to the end. NaN is kept.
    private const string Differentiate = """
        {
        .reg .pred hit, reaches, exists;
        .reg .b32 at;
        .reg .f32 size;
        setp.ne.b32 reaches, 0, 0;
        $for r 0 2
        sub.s32 at, target$(r), %0;
        $for j 0 32
        $for e 0 2
        fma.rn.ftz.f32 d$(4*j+2*r+e), d$(4*j+2*r+e), scale, lse$(r);
        ex2.approx.ftz.f32 d$(4*j+2*r+e), d$(4*j+2*r+e);
        mul.ftz.f32 d$(4*j+2*r+e), d$(4*j+2*r+e), weightScale$(r);
        setp.eq.s32 hit, at, $(8*j+e);
        @hit sub.f32 d$(4*j+2*r+e), d$(4*j+2*r+e), labelScale$(r);
        setp.gt.s32 exists, %1, $(8*j+e);
        selp.f32 d$(4*j+2*r+e), d$(4*j+2*r+e), 0f00000000, exists;
        abs.f32 size, d$(4*j+2*r+e);
        setp.neu.f32 hit, size, 0f00000000;
        setp.geu.and.f32 hit, size, threshold$(r), hit;
        or.pred reaches, reaches, hit;
        $end
        $end
        $end
        vote.sync.any.pred reaches, reaches, -1;
        selp.b32 isKept, 1, 0, reaches;
        }
        """;

    // %0 address of the thread's first gradient, %1 bytes to the row 8 below.
    private const string Store = """
        {
        .reg .b32 pair;
        .reg .b64 to;
        mov.b64 to, %0;
        $for r 0 2
        $for j 0 32
        cvt.rn.$(T)x2.f32 pair, d$(4*j+2*r+1), d$(4*j+2*r);
        st.global.b32 [to+$(16*j)], pair;
        $end
        add.s64 to, to, %1;
        $end
        }
        """;
}
