using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="PartialStates"/> on the tensor cores of Hopper, for logits that are products and a temperature alone: of each position
/// the maximum, Σ exp(a − m) and the label's logit over a part of the vocabulary; the other numbers of a state are 0. One group has 128
/// positions and goes through tiles of 256 classes; while it adds one tile up, the next one is copied. Sums are per thread, over its
/// columns, and meet at the end. Shared memory and registers: <see cref="WgmmaProduct"/>. 2 · positions · vocabSize · hiddenSize FLOPs.
/// </summary>
internal static class LogSumExpWgmma
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public TensorMap Hidden, Classifier;    // [positions, hiddenSize], [vocabSize, hiddenSize]
        public long States;                     // f32 [parts, positions, StateSize]
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
            {
                int step = 0;
                for (int class0 = firstClass; class0 < endClass; class0 += WgmmaProduct.BlockN)
                {
                    for (int depth = 0; depth < p.HiddenSize; depth += WgmmaProduct.Depth)
                        WgmmaProduct.Copy(step++, row0, class0, depth, depth);
                }
            }
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
                WgmmaProduct.MultiplyFirst(step++);
                for (int i = 1; i < steps; i++)
                    WgmmaProduct.Multiply(step++);
                WgmmaProduct.Finish(step);
                if (class0 + WgmmaProduct.BlockN > endClass)
                    CudaAsm.Emit(Mask, endClass - class0 - column);
                CudaAsm.Emit(TakeLabels, class0);
                CudaAsm.Emit(AddTile);
            }
            CudaAsm.Emit(Merge);
            long state = p.States + 4 * PartialStates.StateSize * ((long)part * p.Positions + row);
            CudaAsm.Emit(
                Store, state, p.InverseTemperature, column == 0 && row < p.Positions ? 1 : 0, column == 0 && row + 8 < p.Positions ? 1 : 0);
        }
    }

    // %0 log2 e / temperature, %1 address of the upper row's target, %2, %3 whether the rows exist, %4 the class of column 0.
    private const string States = """
        .reg .f32 max<2>, sum<2>, label<2>, scale;
        .reg .b32 target<2>;
        mov.f32 scale, %0;
        {
        .reg .pred exists;
        $for r 0 2
        mov.f32 max$(r), 0fFF800000;
        mov.f32 sum$(r), 0f00000000;
        mov.f32 label$(r), 0fFF800000;
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

    private const string AddTile = """
        {
        .reg .f32 most<4>, old, shift, rescale;
        .reg .pred none;
        $for i 0 4
        max.f32 most$(i), d$(i), d$(4+i);
        $end
        $for j 2 32
        $for i 0 4
        max.f32 most$(i), most$(i), d$(4*j+i);
        $end
        $end
        $for r 0 2
        mov.f32 old, max$(r);
        max.f32 max$(r), most$(2*r), most$(2*r+1);
        max.f32 max$(r), max$(r), old;
        mul.ftz.f32 shift, max$(r), scale;
        setp.eq.f32 none, max$(r), 0fFF800000;
        selp.f32 shift, 0f00000000, shift, none;
        neg.f32 shift, shift;
        fma.rn.ftz.f32 rescale, old, scale, shift;
        ex2.approx.ftz.f32 rescale, rescale;
        mul.ftz.f32 sum$(r), sum$(r), rescale;
        $for j 0 32
        $for e 0 2
        fma.rn.ftz.f32 d$(4*j+2*r+e), d$(4*j+2*r+e), scale, shift;
        ex2.approx.ftz.f32 d$(4*j+2*r+e), d$(4*j+2*r+e);
        $end
        add.ftz.f32 d$(4*j+2*r), d$(4*j+2*r), d$(4*j+2*r+1);
        add.ftz.f32 sum$(r), sum$(r), d$(4*j+2*r);
        $end
        $end
        }
        """;

    // The four lanes that share a row.
    private const string Merge = """
        {
        .reg .f32 otherMax, otherSum, otherLabel, most, shift;
        .reg .pred none;
        $for r 0 2
        $for b 1 3
        shfl.sync.bfly.b32 otherMax, max$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherSum, sum$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherLabel, label$(r), $(b), 31, -1;
        max.f32 label$(r), label$(r), otherLabel;
        max.f32 most, max$(r), otherMax;
        mul.ftz.f32 shift, most, scale;
        setp.eq.f32 none, most, 0fFF800000;
        selp.f32 shift, 0f00000000, shift, none;
        neg.f32 shift, shift;
        fma.rn.ftz.f32 max$(r), max$(r), scale, shift;
        ex2.approx.ftz.f32 max$(r), max$(r);
        fma.rn.ftz.f32 otherMax, otherMax, scale, shift;
        ex2.approx.ftz.f32 otherMax, otherMax;
        mul.f32 sum$(r), sum$(r), max$(r);
        fma.rn.f32 sum$(r), otherSum, otherMax, sum$(r);
        mov.f32 max$(r), most;
        $end
        $end
        }
        """;

    // %0 address of the upper row's state, %1 1 / temperature, %2, %3 whether to write.
    private const string Store = """
        {
        .reg .pred writes;
        .reg .f32 zero;
        mov.f32 zero, 0f00000000;
        $for r 0 2
        setp.ne.s32 writes, $pick(r,%3,%2), 0;
        mul.f32 max$(r), max$(r), %1;
        mul.f32 label$(r), label$(r), %1;
        @writes st.global.f32 [%0+$(160*r)], max$(r);
        @writes st.global.f32 [%0+$(160*r+4)], sum$(r);
        @writes st.global.f32 [%0+$(160*r+8)], label$(r);
        @writes st.global.f32 [%0+$(160*r+12)], zero;
        @writes st.global.f32 [%0+$(160*r+16)], zero;
        $end
        }
        """;
}
