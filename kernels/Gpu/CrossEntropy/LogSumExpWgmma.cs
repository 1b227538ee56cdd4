using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="PartialStates"/> on the tensor cores of Hopper, for logits that are products and a temperature alone, and losses without
/// weights of classes: Σ w · a of a state is 0. One group has 128 positions and goes through tiles of 256 classes; while it adds one
/// tile up, the next one is copied. Sums are per thread, over its columns, and meet at the end. Shared memory and registers: <see cref="WgmmaProduct"/>. 2 · positions · vocabSize · hiddenSize FLOPs.
/// </summary>
internal static class LogSumExpWgmma
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public TensorMap Hidden, Classifier;    // [positions, hiddenSize], [vocabSize, hiddenSize]
        public long States;                     // f32 [parts, positions, StateSize]
        public long BestClasses;                // i32 [parts, positions]
        public long Targets;                    // i32 [positions]
        public int Positions, VocabSize, HiddenSize, FirstClass, RowTiles, ClassesOfPart;
        public float InverseTemperature;
    }

    /// <summary>The kernel; one group for each tile of positions of each part.</summary>
    public static void CrossEntropyLogSumExpWgmma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement
    {
        int warpGroup = WgmmaProduct.Begin<TElement>(0, 0);
        int row0 = Registers.Pin(Grid.IdxX % p.RowTiles * WgmmaProduct.BlockM), part = Registers.Pin(Grid.IdxX / p.RowTiles);
        int firstClass = Registers.Pin(part * p.ClassesOfPart), left = p.VocabSize - firstClass;
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
            int lane = Group.IdxX & 31, row = row0 + 64 * (warpGroup - 1) + 16 * (Group.IdxX >> 5 & 3) + MatrixLanes.ResultRow(lane);
            int column = MatrixLanes.ResultColumn(lane);
            CudaAsm.Emit(
                States, 1.44269504f * p.InverseTemperature, p.Targets + 4L * row, row < p.Positions ? 1 : 0, row + 8 < p.Positions ? 1 : 0,
                p.FirstClass + column);
            int step = 0, steps = Registers.Pin((p.HiddenSize + WgmmaProduct.Depth - 1) / WgmmaProduct.Depth);
            for (int class0 = firstClass; class0 < endClass; class0 += WgmmaProduct.BlockN)
            {
                step = WgmmaProduct.MultiplyTile(step, steps);
                if (class0 + WgmmaProduct.BlockN > endClass)
                    CudaAsm.Emit(Mask, endClass - class0 - column);
                CudaAsm.Emit(TakeLabels, class0);
                CudaAsm.Emit(TakeBest, class0 + column);
                CudaAsm.Emit(AddTile);
            }
            CudaAsm.Emit(Merge);
            long state = p.States + 4 * PartialStates.StateSize * ((long)part * p.Positions + row);
            CudaAsm.Emit(
                Store, state, p.InverseTemperature, column == 0 && row < p.Positions ? 1 : 0, column == 0 && row + 8 < p.Positions ? 1 : 0,
                p.BestClasses + 4 * ((long)part * p.Positions + row), p.FirstClass);
        }
    }

    // %0 log2 e / temperature, %1 address of the upper row's target, %2, %3 whether the rows exist, %4 the class of column 0.
    private const string States = """
        .reg .f32 max<2>, sum<2>, label<2>, product<2>, most<2>, scale;
        .reg .b32 target<2>, best<2>;
        mov.f32 scale, %0;
        {
        .reg .pred exists;
        $for r 0 2
        mov.f32 max$(r), 0fFF800000;
        mov.f32 sum$(r), 0f00000000;
        mov.f32 label$(r), 0fFF800000;
        mov.f32 product$(r), 0f00000000;
        mov.b32 best$(r), 0x7FFFFFFF;
        setp.ne.s32 exists, $pick(r,%3,%2), 0;
        mov.b32 target$(r), -1;
        @exists ld.global.b32 target$(r), [%1+$(32*r)];
        sub.s32 target$(r), target$(r), %4;
        $end
        }
        """;

    // %0 classes from this thread's first column to the end.
    private const string Mask = """
        {
        .reg .pred exists;
        $for j 0 32
        $for e 0 2
        setp.gt.s32 exists, %0, $(8*j+e);
        selp.f32 d$(4*j+e), d$(4*j+e), 0fFF800000, exists;
        selp.f32 d$(4*j+2+e), d$(4*j+2+e), 0fFF800000, exists;
        $end
        $end
        }
        """;

    // %0 first class of the tile. Few tiles hold a label of the warp's rows.
    private const string TakeLabels = """
        {
        .reg .pred here, other;
        .reg .b32 at<2>;
        sub.s32 at0, target0, %0;
        sub.s32 at1, target1, %0;
        setp.lt.u32 here, at0, 256;
        setp.lt.or.u32 here, at1, 256, here;
        vote.sync.any.pred here, here, -1;
        @!here bra NONE;
        $for r 0 2
        $for j 0 32
        $for e 0 2
        setp.eq.s32 other, at$(r), $(8*j+e);
        selp.f32 label$(r), d$(4*j+2*r+e), label$(r), other;
        $end
        $end
        $end
        NONE:
        }
        """;

    // %0 the class of this thread's first column. A tile's maximum seldom exceeds all before; of equal ones the first class counts.
    private const string TakeBest = """
        {
        .reg .f32 part<4>;
        .reg .pred exceeds<2>, any, equal;
        $for i 0 4
        max.f32 part$(i), d$(i), d$(4+i);
        $end
        $for j 2 32
        $for i 0 4
        max.f32 part$(i), part$(i), d$(4*j+i);
        $end
        $end
        $for r 0 2
        max.f32 most$(r), part$(2*r), part$(2*r+1);
        setp.gt.f32 exceeds$(r), most$(r), max$(r);
        $end
        or.pred any, exceeds0, exceeds1;
        vote.sync.any.pred any, any, -1;
        @!any bra NONE;
        $for r 0 2
        $for c 0 64
        $let J 31-c/2
        $let E 1-(c&1)
        setp.eq.and.f32 equal, d$(4*J+2*r+E), most$(r), exceeds$(r);
        @equal add.s32 best$(r), %0, $(8*J+E);
        $end
        $end
        NONE:
        }
        """;

    // Weights are 2^(scale · a − shift); the sum of weight · (a − m) is in units of log 2 until it is stored.
    private const string AddTile = """
        {
        .reg .f32 old, shift, rescale, weight;
        .reg .pred none;
        $for r 0 2
        mov.f32 old, max$(r);
        max.f32 max$(r), most$(r), old;
        mul.ftz.f32 shift, max$(r), scale;
        setp.eq.f32 none, max$(r), 0fFF800000;
        selp.f32 shift, 0f00000000, shift, none;
        neg.f32 shift, shift;
        fma.rn.ftz.f32 old, old, scale, shift;
        ex2.approx.ftz.f32 rescale, old;
        fma.rn.f32 product$(r), old, sum$(r), product$(r);
        mul.f32 product$(r), product$(r), rescale;
        setp.eq.f32 none, rescale, 0f00000000;
        selp.f32 product$(r), 0f00000000, product$(r), none;
        mul.ftz.f32 sum$(r), sum$(r), rescale;
        $for j 0 32
        $for e 0 2
        fma.rn.ftz.f32 d$(4*j+2*r+e), d$(4*j+2*r+e), scale, shift;
        ex2.approx.ftz.f32 weight, d$(4*j+2*r+e);
        setp.eq.f32 none, weight, 0f00000000;
        add.ftz.f32 sum$(r), sum$(r), weight;
        mul.ftz.f32 weight, weight, d$(4*j+2*r+e);
        @!none add.ftz.f32 product$(r), product$(r), weight;
        $end
        $end
        $end
        }
        """;

    // The four lanes that share a row.
    private const string Merge = """
        {
        .reg .f32 otherMax, otherSum, otherLabel, otherProduct, higher, shift, weight, otherWeight, gap;
        .reg .b32 otherBest;
        .reg .pred none, takes;
        $for r 0 2
        $for b 1 3
        shfl.sync.bfly.b32 otherMax, max$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherSum, sum$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherLabel, label$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherProduct, product$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherBest, best$(r), $(b), 31, -1;
        max.f32 label$(r), label$(r), otherLabel;
        setp.lt.s32 takes, otherBest, best$(r);
        setp.eq.and.f32 takes, otherMax, max$(r), takes;
        setp.gt.or.f32 takes, otherMax, max$(r), takes;
        selp.b32 best$(r), otherBest, best$(r), takes;
        max.f32 higher, max$(r), otherMax;
        mul.ftz.f32 shift, higher, scale;
        setp.eq.f32 none, higher, 0fFF800000;
        selp.f32 shift, 0f00000000, shift, none;
        neg.f32 shift, shift;
        fma.rn.ftz.f32 gap, max$(r), scale, shift;
        ex2.approx.ftz.f32 weight, gap;
        fma.rn.f32 product$(r), gap, sum$(r), product$(r);
        mul.f32 product$(r), product$(r), weight;
        setp.eq.f32 none, weight, 0f00000000;
        selp.f32 product$(r), 0f00000000, product$(r), none;
        fma.rn.ftz.f32 gap, otherMax, scale, shift;
        ex2.approx.ftz.f32 otherWeight, gap;
        fma.rn.f32 otherProduct, gap, otherSum, otherProduct;
        mul.f32 otherProduct, otherProduct, otherWeight;
        setp.eq.f32 none, otherWeight, 0f00000000;
        @!none add.f32 product$(r), product$(r), otherProduct;
        mul.f32 sum$(r), sum$(r), weight;
        fma.rn.f32 sum$(r), otherSum, otherWeight, sum$(r);
        mov.f32 max$(r), higher;
        $end
        $end
        }
        """;

    // %0 address of the upper row's state, %1 1 / temperature, %2, %3 whether to write, %4 address of its best class, %5 the first class.
    private const string Store = """
        {
        .reg .pred writes, known;
        .reg .f32 zero;
        mov.f32 zero, 0f00000000;
        $for r 0 2
        setp.ne.s32 writes, $pick(r,%3,%2), 0;
        mul.f32 max$(r), max$(r), %1;
        mul.f32 label$(r), label$(r), %1;
        mul.f32 product$(r), product$(r), 0f3F317218;
        setp.ne.s32 known, best$(r), 0x7FFFFFFF;
        add.s32 best$(r), best$(r), %5;
        selp.b32 best$(r), best$(r), -1, known;
        @writes st.global.f32 [%0+$(160*r)], max$(r);
        @writes st.global.f32 [%0+$(160*r+4)], sum$(r);
        @writes st.global.f32 [%0+$(160*r+8)], label$(r);
        @writes st.global.f32 [%0+$(160*r+12)], zero;
        @writes st.global.f32 [%0+$(160*r+16)], product$(r);
        @writes st.global.b32 [%4+$(32*r)], best$(r);
        $end
        }
        """;
}
