using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="LogitGradients"/> from logits that lie as a <see cref="ProductTile"/>, rounded to 16 bits since the products with them are
/// made of such, and per tile whether a filter keeps it. Positions that do not count, and classes past the end, have gradient 0.
/// <see cref="LogitGradientsWgmma"/> and <see cref="LogitGradientsMma"/> make the logits.
/// </summary>
internal static class LogitGradientTile
{
    /// <summary>Warps that say each for itself whether their part of a tile is kept.</summary>
    public const int Flags = ProductTile.Warps;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public long Gradients;                  // 16 bits [rowTiles · 128, GradientStride]
        public long IsKept;                     // i32 [classTiles, rowTiles, Flags]
        public long Rows;                       // f32 [rowTiles · 128, 4]: RowNumbers
        public int GradientStride, HiddenSize, RowTiles, FirstPlace, EndPlace, ClassesOfPart;
        public float InverseTemperature, FilterEpsilon;
    }

    /// <summary>Reads what is known of the thread's rows; returns where their gradients of class 0 lie, or would.</summary>
    /// <param name="p">The arguments.</param>
    /// <param name="row">First of the thread's rows.</param>
    /// <param name="column">First of the thread's columns of a tile.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Begin(ref Parameters p, int row, int column)
    {
        CudaAsm.Emit(ReadRows, 1.44269504f * p.InverseTemperature, p.Rows + 16L * row, p.FilterEpsilon, column);
        return Registers.Pin(p.Gradients + 2 * ((long)row * p.GradientStride + column - p.FirstPlace));
    }

    /// <summary>Makes a tile's gradients of its logits, and stores them.</summary>
    /// <param name="p">The arguments.</param>
    /// <param name="gradients">What <see cref="Begin"/> returned.</param>
    /// <param name="rowTile">The tile of positions.</param>
    /// <param name="class0">The tile's first class.</param>
    /// <param name="endClass">Where the part's classes end.</param>
    /// <param name="column">First of the thread's columns of a tile.</param>
    /// <param name="warp">Which of the warps that hold the tile.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(ref Parameters p, long gradients, int rowTile, int class0, int endClass, int column, int warp)
    {
        CudaAsm.Emit(Differentiate, class0, endClass - class0 - column);
        CudaAsm.Emit(StoreGradients, gradients + 2L * class0, 16L * p.GradientStride);
        long tile = (long)((class0 - p.FirstPlace) / ProductTile.BlockN) * p.RowTiles + rowTile;
        CudaAsm.Emit("@leads st.global.b32 [%0], isKept;", p.IsKept + 4 * (tile * Flags + warp));
    }

    // %0 log2 e / temperature, %1 address of the first row's numbers, %2 the filter's ε, %3 the thread's first column.
    private const string ReadRows = """
        .reg .f32 lse<$(ROWS)>, weightScale<$(ROWS)>, labelScale<$(ROWS)>, threshold<$(ROWS)>, scale;
        .reg .b32 target<$(ROWS)>, isKept;
        mov.f32 scale, %0;
        {
        .reg .f32 bits;
        $for r 0 ROWS
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
    private const string Differentiate = $$"""
        {
        .reg .pred hit, reaches, exists;
        .reg .b32 at;
        .reg .f32 size;
        setp.ne.b32 reaches, 0, 0;
        $for r 0 ROWS
        sub.s32 at, target$(r), %0;
        $for j 0 PAIRS
        {{ProductTile.At}}
        $for e 0 2
        fma.rn.ftz.f32 d$(AT+e), d$(AT+e), scale, lse$(r);
        ex2.approx.ftz.f32 d$(AT+e), d$(AT+e);
        mul.ftz.f32 d$(AT+e), d$(AT+e), weightScale$(r);
        setp.eq.s32 hit, at, $(8*j+e);
        @hit sub.f32 d$(AT+e), d$(AT+e), labelScale$(r);
        setp.gt.s32 exists, %1, $(8*j+e);
        selp.f32 d$(AT+e), d$(AT+e), 0f00000000, exists;
        abs.f32 size, d$(AT+e);
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
    private const string StoreGradients = $$"""
        {
        .reg .b32 pair;
        .reg .b64 to;
        mov.b64 to, %0;
        $for r 0 ROWS
        $for j 0 PAIRS
        {{ProductTile.At}}
        cvt.rn.$(T)x2.f32 pair, d$(AT+1), d$(AT);
        st.global.b32 [to+$(16*j)], pair;
        $end
        add.s64 to, to, %1;
        $end
        }
        """;
}
