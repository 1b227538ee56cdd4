using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// <see cref="GradientProduct"/> that lies as a <see cref="ProductTile"/>: which terms of its sums a filter keeps, and where it goes. Sums
/// over several chunks are float32. <see cref="GradientProductWgmma"/> and <see cref="GradientProductMma"/> multiply.
/// </summary>
internal static class GradientProductTile
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public long IsKept;                 // i32 [classTiles, rowTiles, LogitGradientTile.Flags], or 0 to multiply all
        public long Sums;                   // f32 [rows, SumStride], or 0 where all terms are in this chunk
        public long Target;                 // [rows, TargetStride], or 0 while chunks are to come
        public long SumStride, TargetStride;
        public int Rows, HiddenSize;        // of the result
        public int Terms, TermOffset;       // of the sum, and the other operand's row of the first one
        public int ColumnTiles, RowTiles;   // of the result's columns; of positions
        public int IsFirst, IsTargetFloat32;
    }

    /// <summary>Adds the sums of earlier chunks to a tile, and stores it.</summary>
    /// <param name="p">The arguments.</param>
    /// <param name="row">First of the thread's rows.</param>
    /// <param name="column">First of the thread's columns.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(ref Parameters p, int row, int column)
    {
        int rows = p.Rows - row, columns = p.HiddenSize - column;
        if (p.IsFirst == 0)
            CudaAsm.Emit(AddSums, p.Sums + 4 * (row * p.SumStride + column), 32 * p.SumStride, rows, columns);
        if (p.Target == 0)
            CudaAsm.Emit(Store32, p.Sums + 4 * (row * p.SumStride + column), 32 * p.SumStride, rows, columns);
        else if (p.IsTargetFloat32 != 0)
            CudaAsm.Emit(Store32, p.Target + 4 * (row * p.TargetStride + column), 32 * p.TargetStride, rows, columns);
        else
            CudaAsm.Emit(Store16, p.Target + 2 * (row * p.TargetStride + column), 16 * p.TargetStride, rows, columns);
    }

    /// <summary>
    /// The first term, from the given one on, that lies in a tile of gradients that is kept. Of 32 tiles at a time ‘kept’ says which are: a
    /// warp reads them at once, since one after another each would cost what memory takes to answer.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int NextKept(ref Parameters p, ref int kept, int tile, int term, int ownsClasses)
    {
        int termsOfTile = ownsClasses != 0 ? ProductTile.BlockM : ProductTile.BlockN;
        bool isFound = false;
        while (!isFound && term < p.Terms && term % termsOfTile == 0)
        {
            int index = term / termsOfTile;
            if ((index & 31) == 0)
                kept = ReadKept(ref p, tile, index, termsOfTile, ownsClasses);
            CudaAsm.Emit(FirstBit, out int skipped, kept, index & 31);
            isFound = skipped < 32;
            term = (index + skipped) * termsOfTile;
            if (!isFound)
                term = ((index | 31) + 1) * termsOfTile;
        }
        return term;
    }

    // One bit a tile from ‘index’ on: whether any warp's rows of it are kept.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ReadKept(ref Parameters p, int tile, int index, int termsOfTile, int ownsClasses)
    {
        int own = index + (Group.IdxX & 31), tiles = (p.Terms + termsOfTile - 1) / termsOfTile;
        int classTile = ownsClasses != 0 ? tile >> 1 : own, rowTile = ownsClasses != 0 ? own : tile;
        long flags = p.IsKept + 4L * LogitGradientTile.Flags * ((long)classTile * p.RowTiles + rowTile);
        CudaAsm.Emit(ReadFlags, out int kept, flags, own < tiles ? 1 : 0);
        return kept;
    }

    // How many tiles come before the first that is kept, from bit %2 of %1 on; 32 and more where none is.
    private const string FirstBit = """
        {
        .reg .b32 bits;
        shr.u32 bits, %1, %2;
        brev.b32 bits, bits;
        clz.b32 %0, bits;
        }
        """;

    // %1 address of the tile's flags, %2 whether there is such a tile.
    private const string ReadFlags = """
        {
        .reg .b32 flag<8>;
        .reg .pred exists, isKept;
        setp.ne.s32 exists, %2, 0;
        $for i 0 8
        mov.b32 flag$(i), 0;
        $end
        @exists ld.global.v4.b32 {flag0, flag1, flag2, flag3}, [%1];
        @exists ld.global.v4.b32 {flag4, flag5, flag6, flag7}, [%1+16];
        $for i 1 8
        or.b32 flag0, flag0, flag$(i);
        $end
        setp.ne.b32 isKept, flag0, 0;
        vote.sync.ballot.b32 %0, isKept, 0xFFFFFFFF;
        }
        """;

    // Of all three: %0 address of the thread's first element, %1 bytes to the row 8 below, %2 rows and %3 columns from there to the end.
    private const string AddSums = $$"""
        {
        .reg .pred exists, rowExists;
        .reg .b64 at;
        .reg .f32 sum<2>;
        mov.b64 at, %0;
        $for r 0 ROWS
        setp.gt.s32 rowExists, %2, $(8*r);
        $for j 0 PAIRS
        {{ProductTile.At}}
        setp.gt.and.s32 exists, %3, $(8*j), rowExists;
        mov.f32 sum0, 0f00000000;
        mov.f32 sum1, 0f00000000;
        @exists ld.global.v2.f32 {sum0, sum1}, [at+$(32*j)];
        add.f32 d$(AT), d$(AT), sum0;
        add.f32 d$(AT+1), d$(AT+1), sum1;
        $end
        add.s64 at, at, %1;
        $end
        }
        """;

    private const string Store32 = $$"""
        {
        .reg .pred exists, rowExists;
        .reg .b64 at;
        mov.b64 at, %0;
        $for r 0 ROWS
        setp.gt.s32 rowExists, %2, $(8*r);
        $for j 0 PAIRS
        {{ProductTile.At}}
        setp.gt.and.s32 exists, %3, $(8*j), rowExists;
        @exists st.global.v2.f32 [at+$(32*j)], {d$(AT), d$(AT+1)};
        $end
        add.s64 at, at, %1;
        $end
        }
        """;

    private const string Store16 = $$"""
        {
        .reg .pred exists, rowExists;
        .reg .b64 at;
        .reg .b32 pair;
        mov.b64 at, %0;
        $for r 0 ROWS
        setp.gt.s32 rowExists, %2, $(8*r);
        $for j 0 PAIRS
        {{ProductTile.At}}
        setp.gt.and.s32 exists, %3, $(8*j), rowExists;
        cvt.rn.$(T)x2.f32 pair, d$(AT+1), d$(AT);
        @exists st.global.b32 [at+$(16*j)], pair;
        $end
        add.s64 at, at, %1;
        $end
        }
        """;
}
