using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="PartialStates"/> from logits that lie as a <see cref="ProductTile"/>, of losses without weights of classes: Σ w · a of a
/// state is 0. Sums are per thread, over its columns, and meet at the end. <see cref="LogSumExpWgmma"/> and <see cref="LogSumExpMma"/>
/// make the logits.
/// </summary>
internal static class LogSumExpTile
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public long States;                     // f32 [parts, positions, StateSize]
        public long BestClasses;                // i32 [parts, positions]
        public long Targets;                    // i32 [positions]
        public int Positions, VocabSize, HiddenSize, FirstClass, RowTiles, ClassesOfPart;
        public float InverseTemperature;
    }

    /// <summary>Begins the states.</summary>
    /// <param name="p">The arguments.</param>
    /// <param name="row">First of the thread's rows.</param>
    /// <param name="column">First of the thread's columns of a tile.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Begin(ref Parameters p, int row, int column) => CudaAsm.Emit(
        States, 1.44269504f * p.InverseTemperature, p.Targets + 4L * row, p.Positions - row, p.FirstClass + column);

    /// <summary>Adds a tile of classes.</summary>
    /// <param name="class0">Its first class.</param>
    /// <param name="endClass">Where the part's classes end.</param>
    /// <param name="column">First of the thread's columns of a tile.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Add(int class0, int endClass, int column)
    {
        if (class0 + ProductTile.BlockN > endClass)
            CudaAsm.Emit(Mask, endClass - class0 - column);
        CudaAsm.Emit(TakeLabels, class0);
        CudaAsm.Emit(TakeBest, class0 + column);
        CudaAsm.Emit(AddWeights);
    }

    /// <summary>Merges the states of the lanes that share rows: the first lane of each row has the whole.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Merge() => CudaAsm.Emit(MergeLanes);

    /// <summary>Merges those of warps that share rows, after those of lanes, through shared memory that nothing else uses any more.</summary>
    /// <param name="row">First of the thread's rows of a tile.</param>
    /// <param name="column">First of the thread's columns of a tile: that of the first warp of a row has the whole.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MergeWarpsOfRow(int row, int column)
    {
        int warp = Registers.Uniform(column / (ProductTile.BlockN / MmaProduct.WarpsOfRow));
        CudaAsm.Emit("$let WARPS_OF_ROW %0", MmaProduct.WarpsOfRow);
        CudaAsm.Emit(
            Exchange, 4 * PartialStates.StateSize * (ProductTile.BlockM * warp + row), warp != 0 && MatrixLanes.ResultColumn(Group.IdxX & 31) == 0 ? 1 : 0);
        if (warp == 0)
            CudaAsm.Emit(MergeWarps, 4 * PartialStates.StateSize * row);
    }

    /// <summary>Stores the states, from the threads whose first column is 0.</summary>
    /// <param name="p">The arguments.</param>
    /// <param name="part">The part.</param>
    /// <param name="row">First of the thread's rows.</param>
    /// <param name="column">First of the thread's columns of a tile.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(ref Parameters p, int part, int row, int column) => CudaAsm.Emit(
        StoreStates, p.States + 4 * PartialStates.StateSize * ((long)part * p.Positions + row), p.InverseTemperature,
        column == 0 ? p.Positions - row : 0, p.BestClasses + 4 * ((long)part * p.Positions + row), p.FirstClass);

    // %0 log2 e / temperature, %1 address of the first row's target, %2 rows from there to the end, %3 the class of column 0.
    private const string States = """
        .reg .f32 max<$(ROWS)>, sum<$(ROWS)>, label<$(ROWS)>, product<$(ROWS)>, most<$(ROWS)>, scale;
        .reg .b32 target<$(ROWS)>, best<$(ROWS)>;
        mov.f32 scale, %0;
        {
        .reg .pred exists;
        $for r 0 ROWS
        mov.f32 max$(r), 0fFF800000;
        mov.f32 sum$(r), 0f00000000;
        mov.f32 label$(r), 0fFF800000;
        mov.f32 product$(r), 0f00000000;
        mov.b32 best$(r), 0x7FFFFFFF;
        setp.gt.s32 exists, %2, $(8*r);
        mov.b32 target$(r), -1;
        @exists ld.global.b32 target$(r), [%1+$(32*r)];
        sub.s32 target$(r), target$(r), %3;
        $end
        }
        """;

    // %0 classes from this thread's first column to the end.
    private const string Mask = $$"""
        {
        .reg .pred exists;
        $for j 0 PAIRS
        $for e 0 2
        setp.gt.s32 exists, %0, $(8*j+e);
        $for r 0 ROWS
        {{ProductTile.At}}
        selp.f32 d$(AT+e), d$(AT+e), 0fFF800000, exists;
        $end
        $end
        $end
        }
        """;

    // %0 first class of the tile. Few tiles hold a label of the warp's rows.
    private const string TakeLabels = $$"""
        {
        .reg .pred here, other;
        .reg .b32 at<$(ROWS)>;
        $for r 0 ROWS
        sub.s32 at$(r), target$(r), %0;
        $end
        setp.lt.u32 here, at0, $(8*PAIRS);
        $for r 1 ROWS
        setp.lt.or.u32 here, at$(r), $(8*PAIRS), here;
        $end
        vote.sync.any.pred here, here, -1;
        @!here bra NONE;
        $for r 0 ROWS
        $for j 0 PAIRS
        {{ProductTile.At}}
        $for e 0 2
        setp.eq.s32 other, at$(r), $(8*j+e);
        selp.f32 label$(r), d$(AT+e), label$(r), other;
        $end
        $end
        $end
        NONE:
        }
        """;

    // %0 the class of this thread's first column. A tile's maximum seldom exceeds all before; of equal ones the first class counts.
    private const string TakeBest = $$"""
        {
        .reg .f32 part<$(2*ROWS)>;
        .reg .pred exceeds<$(ROWS)>, any, equal;
        $for j 1 PAIRS
        $for r 0 ROWS
        {{ProductTile.At}}
        $for e 0 2
        $if j==1
        max.f32 part$(2*r+e), d$(AT-4+e), d$(AT+e);
        $else
        max.f32 part$(2*r+e), part$(2*r+e), d$(AT+e);
        $end
        $end
        $end
        $end
        $for r 0 ROWS
        max.f32 most$(r), part$(2*r), part$(2*r+1);
        setp.gt.f32 exceeds$(r), most$(r), max$(r);
        $end
        or.pred any, exceeds0, exceeds1;
        $for r 2 ROWS
        or.pred any, any, exceeds$(r);
        $end
        vote.sync.any.pred any, any, -1;
        @!any bra NONE;
        $for r 0 ROWS
        $for c 0 2*PAIRS
        $let j PAIRS-1-c/2
        $let E 1-(c&1)
        {{ProductTile.At}}
        setp.eq.and.f32 equal, d$(AT+E), most$(r), exceeds$(r);
        @equal add.s32 best$(r), %0, $(8*j+E);
        $end
        $end
        NONE:
        }
        """;

    // Weights are 2^(scale · a − shift); the sum of weight · (a − m) is in units of log 2 until it is stored.
    private const string AddWeights = $$"""
        {
        .reg .f32 old, shift, rescale, weight;
        .reg .pred none;
        $for r 0 ROWS
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
        $for j 0 PAIRS
        {{ProductTile.At}}
        $for e 0 2
        fma.rn.ftz.f32 d$(AT+e), d$(AT+e), scale, shift;
        ex2.approx.ftz.f32 weight, d$(AT+e);
        setp.eq.f32 none, weight, 0f00000000;
        add.ftz.f32 sum$(r), sum$(r), weight;
        mul.ftz.f32 weight, weight, d$(AT+e);
        @!none add.ftz.f32 product$(r), product$(r), weight;
        $end
        $end
        $end
        }
        """;

    // The other state and row r's become one.
    private const string Combine = """
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
        """;

    private const string Others = """
        .reg .f32 otherMax, otherSum, otherLabel, otherProduct, higher, shift, weight, otherWeight, gap;
        .reg .b32 otherBest;
        .reg .pred none, takes;
        """;

    // The four lanes that share a row.
    private const string MergeLanes = $$"""
        {
        {{Others}}
        $for r 0 ROWS
        $for b 1 3
        shfl.sync.bfly.b32 otherMax, max$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherSum, sum$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherLabel, label$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherProduct, product$(r), $(b), 31, -1;
        shfl.sync.bfly.b32 otherBest, best$(r), $(b), 31, -1;
        {{Combine}}
        $end
        $end
        }
        """;

    // %0 where the state of the thread's first row lies, behind those of the warps to the left; %1 whether to write.
    private const string Exchange = """
        {
        .reg .b32 at;
        .reg .pred writes;
        add.u32 at, shared, %0;
        setp.ne.s32 writes, %1, 0;
        bar.sync 0;
        $for r 0 ROWS
        @writes st.shared.f32 [at+$(160*r)], max$(r);
        @writes st.shared.f32 [at+$(160*r+4)], sum$(r);
        @writes st.shared.f32 [at+$(160*r+8)], label$(r);
        @writes st.shared.f32 [at+$(160*r+12)], product$(r);
        @writes st.shared.b32 [at+$(160*r+16)], best$(r);
        $end
        bar.sync 0;
        }
        """;

    // %0 where the state of the thread's first row lies.
    private const string MergeWarps = $$"""
        {
        .reg .b32 at;
        {{Others}}
        add.u32 at, shared, %0;
        $for r 0 ROWS
        $for w 1 WARPS_OF_ROW
        ld.shared.f32 otherMax, [at+$(128*20*w+160*r)];
        ld.shared.f32 otherSum, [at+$(128*20*w+160*r+4)];
        ld.shared.f32 otherLabel, [at+$(128*20*w+160*r+8)];
        ld.shared.f32 otherProduct, [at+$(128*20*w+160*r+12)];
        ld.shared.b32 otherBest, [at+$(128*20*w+160*r+16)];
        {{Combine}}
        $end
        $end
        }
        """;

    // %0 address of the first row's state, %1 1 / temperature, %2 rows to write, from there on, %3 address of its best class, %4 the first
    // class.
    private const string StoreStates = """
        {
        .reg .pred writes, known;
        .reg .f32 zero;
        mov.f32 zero, 0f00000000;
        $for r 0 ROWS
        setp.gt.s32 writes, %2, $(8*r);
        mul.f32 max$(r), max$(r), %1;
        mul.f32 label$(r), label$(r), %1;
        mul.f32 product$(r), product$(r), 0f3F317218;
        setp.ne.s32 known, best$(r), 0x7FFFFFFF;
        add.s32 best$(r), best$(r), %4;
        selp.b32 best$(r), best$(r), -1, known;
        @writes st.global.f32 [%0+$(160*r)], max$(r);
        @writes st.global.f32 [%0+$(160*r+4)], sum$(r);
        @writes st.global.f32 [%0+$(160*r+8)], label$(r);
        @writes st.global.f32 [%0+$(160*r+12)], zero;
        @writes st.global.f32 [%0+$(160*r+16)], product$(r);
        @writes st.global.b32 [%3+$(32*r)], best$(r);
        $end
        }
        """;
}
