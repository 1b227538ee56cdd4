using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;

namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>
/// Products of 16-bit matrices on the tensor cores of Ampere and later, tile by tile: a <see cref="ProductTile"/> in the registers of 8
/// warps, 64 rows × 64 columns in each, from 32 columns of depth at a time. Four such steps are in shared memory: one is multiplied while
/// three are copied. An operand may lie with its depth together (rows of a left operand, columns of a right one), or across it.
/// A step takes an A100's tensor cores 1024 cycles, and shared memory 512 to read it and 192 to write it.
/// Shared memory: 96 KiB. Rows of 64 bytes have their 16-byte pieces swizzled by half the row modulo 4, longer ones by the row modulo 8,
/// so that the eight rows that ldmatrix reads at once lie in different banks.
/// </summary>
internal static class MmaProduct
{
    /// <summary>Depth of a step.</summary>
    public const int Depth = 32;

    /// <summary>Steps that are asked for before they are multiplied.</summary>
    public const int StepsAhead = Stages - 1;

    /// <summary>Threads of a group.</summary>
    public const int Threads = 32 * ProductTile.Warps;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = Stages * (ProductTile.BlockM + ProductTile.BlockN) * 2 * Depth;

    /// <summary>Warps whose tiles lie side by side: they share rows.</summary>
    public const int WarpsOfRow = 4;

    private const int Stages = 4;

    /// <summary>First of the thread's rows of a tile.</summary>
    public static int Row => 64 * (Group.IdxX >> 5 & 1) + MatrixLanes.ResultRow(Group.IdxX & 31);

    /// <summary>First of the thread's columns of a tile.</summary>
    public static int Column => 64 * (Group.IdxX >> 6) + MatrixLanes.ResultColumn(Group.IdxX & 31);

    /// <summary>Lays out shared memory.</summary>
    /// <param name="leftTransposed">1 where the left operand is stored [depth, row], else 0.</param>
    /// <param name="rightTransposed">1 where the right operand is stored [depth, column], else 0.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Begin<TElement>(int leftTransposed, int rightTransposed) where TElement : struct, ITensorCoreElement
    {
        CudaAsm.Emit("$let IS_BF16 %0", TElement.IsBFloat16);
        CudaAsm.Emit("$let LEFT_T %0", leftTransposed);
        CudaAsm.Emit("$let RIGHT_T %0", rightTransposed);
        int lane = Group.IdxX & 31, warp = Registers.Uniform(Group.IdxX >> 5), row = 64 * (warp & 1), column = 64 * (warp >> 1);
        int byRow = MatrixLanes.Row(lane), byColumn = MatrixLanes.TransposedRow(lane);
        int left = leftTransposed != 0
            ? Place(ProductTile.BlockM, byColumn, row / 8 + MatrixLanes.TransposedColumn(lane) / 8)
            : Place(Depth, row + byRow, MatrixLanes.Column(lane) / 8);
        int right = rightTransposed != 0
            ? Place(ProductTile.BlockN, byRow, column / 8 + MatrixLanes.Column(lane) / 8)
            : Place(Depth, column + byColumn, MatrixLanes.TransposedColumn(lane) / 8);
        int leftWidth = leftTransposed != 0 ? ProductTile.BlockM : Depth, rightWidth = rightTransposed != 0 ? ProductTile.BlockN : Depth;
        CudaAsm.Emit(
            LaneAddresses, left, right, Place(leftWidth, CopyRow(leftWidth), CopyPiece(leftWidth)),
            Place(rightWidth, CopyRow(rightWidth), CopyPiece(rightWidth)));
    }

    /// <summary>A tile's sums begin.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void BeginTile() => CudaAsm.Emit("$for i 0 128\nmov.f32 d$(i), 0f00000000;\n$end");

    /// <summary>Waits for the step that is multiplied next; what the step before it took may be overwritten now.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Await() => CudaAsm.Emit("cp.async.wait_group 2;\nbar.sync 0;");

    /// <summary>Asks for the left operand of a step, from a row and column of the matrix as it is stored. What is past its end is zero.</summary>
    /// <param name="isTransposed">As <see cref="Begin"/> was told.</param>
    /// <param name="matrix">The operand.</param>
    /// <param name="row">First row.</param>
    /// <param name="column">First column.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void CopyLeft(int isTransposed, ref MatrixAddress matrix, int row, int column)
    {
        int width = isTransposed != 0 ? ProductTile.BlockM : Depth;
        row += CopyRow(width);
        column += 8 * CopyPiece(width);
        CudaAsm.Emit(
            CopyLeftRows, matrix.Address + 2 * (row * matrix.Stride + column), 2 * (8 * Threads / width) * matrix.Stride,
            column < matrix.Columns ? matrix.Rows - row : 0);
    }

    /// <summary>The same of the right operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void CopyRight(int isTransposed, ref MatrixAddress matrix, int row, int column)
    {
        int width = isTransposed != 0 ? ProductTile.BlockN : Depth;
        row += CopyRow(width);
        column += 8 * CopyPiece(width);
        CudaAsm.Emit(
            CopyRightRows, matrix.Address + 2 * (row * matrix.Stride + column), 2 * (8 * Threads / width) * matrix.Stride,
            column < matrix.Columns ? matrix.Rows - row : 0);
    }

    /// <summary>Ends a step's copies, also where there was none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void EndCopy() => CudaAsm.Emit(NextCopy);

    /// <summary>Asks for the next step of a row of tiles, if there is one; both operands lie with their depth together.</summary>
    /// <param name="left">The left operand, [rows, depth].</param>
    /// <param name="right">The right operand, [columns, depth].</param>
    /// <param name="row">First row of the tiles.</param>
    /// <param name="column">First column of the step's tile.</param>
    /// <param name="endColumn">Where the columns end.</param>
    /// <param name="depth">The step's first place along the depth.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void CopyOfTiles(ref MatrixAddress left, ref MatrixAddress right, int row, ref int column, int endColumn, ref int depth)
    {
        if (column < endColumn)
        {
            CopyLeft(0, ref left, row, depth);
            CopyRight(0, ref right, column, depth);
            depth += Depth;
            if (depth >= left.Columns)
            {
                depth = 0;
                column += ProductTile.BlockN;
            }
        }
        EndCopy();
    }

    /// <summary>Multiplies a whole tile of a row of tiles, and goes on with copies.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MultiplyTile(ref MatrixAddress left, ref MatrixAddress right, int row, ref int column, int endColumn, ref int depth)
    {
        BeginTile();
        for (int place = 0; place < left.Columns; place += Depth)
        {
            Await();
            CopyOfTiles(ref left, ref right, row, ref column, endColumn, ref depth);
            Multiply();
        }
    }

    /// <summary>Multiplies a step, for which <see cref="Await"/> has waited, and adds it to d0 .. d127.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply() => CudaAsm.Emit(Products);

    // Where a piece of 16 bytes lies in a tile whose rows have so many elements.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Place(int width, int row, int piece) => 2 * width * row + 16 * (piece ^ (width == Depth ? row >> 1 & 3 : row & 7));

    // The row and the piece of it that a thread copies, of as many rows as the group's threads copy at once.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int CopyRow(int width) => Group.IdxX / (width / 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int CopyPiece(int width) => Group.IdxX & width / 8 - 1;

    // %0, %1 the lane's places in the operands, %2, %3 the thread's places in their copies. Thread t of a warp holds rows t / 4 + 8 · r and
    // columns 2 · (t % 4) + 8 · j and the next one.
    private const string LaneAddresses = """
        $let T $pick(IS_BF16,bf16,f16)
        $let ROWS 8
        $let PAIRS 8
        $let RIGHT 128*64
        $let STAGE 128*64+256*64
        $let LEFT_PITCH $pick(LEFT_T,256,64)
        $let RIGHT_PITCH $pick(RIGHT_T,512,64)
        $let TO 0
        $let GUARDED 0
        .reg .f32 d<128>;
        .reg .b32 shared, leftLane, rightLane, leftCopy, rightCopy, copyLane, stage, copyStage;
        .reg .pred leads;
        mov.u32 shared, dynamicShared;
        add.u32 leftLane, shared, %0;
        add.u32 rightLane, shared, %1;
        add.u32 rightLane, rightLane, $(RIGHT);
        add.u32 leftCopy, shared, %2;
        add.u32 rightCopy, shared, %3;
        add.u32 rightCopy, rightCopy, $(RIGHT);
        mov.b32 stage, 0;
        mov.b32 copyStage, 0;
        {
        .reg .b32 lane;
        mov.u32 lane, %%laneid;
        setp.eq.u32 leads, lane, 0;
        }
        """;

    private const string CopyLeftRows =
        "add.u32 copyLane, leftCopy, copyStage;\n$let PITCH LEFT_PITCH\n$let COUNT 8192/PITCH\n$let STEP 4096/PITCH\n" + RowCopies.Copy;

    private const string CopyRightRows =
        "add.u32 copyLane, rightCopy, copyStage;\n$let PITCH RIGHT_PITCH\n$let COUNT 16384/PITCH\n$let STEP 4096/PITCH\n" + RowCopies.Copy;

    private const string NextCopy = """
        cp.async.commit_group;
        {
        .reg .pred ends;
        add.u32 copyStage, copyStage, $(STAGE);
        setp.eq.u32 ends, copyStage, $(4*STAGE);
        selp.b32 copyStage, 0, copyStage, ends;
        }
        """;

    // Places differ in the bits that are swizzled: between the two depths of 16 of a step where rows are short, between tiles of 16 rows
    // or columns where they are long.
    private const string Products = """
        {
        .reg .b32 left<4>, right<4>, a<16>, b<4>;
        .reg .pred ends;
        add.u32 left0, leftLane, stage;
        add.u32 right0, rightLane, stage;
        $for i 1 4
        xor.b32 left$(i), left0, $(32*i);
        xor.b32 right$(i), right0, $(32*i);
        $end
        $for k 0 2
        $for t 0 4
        $if LEFT_T
        ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {$list(a,4*t,4)}, [left$(t)+$(16*k*LEFT_PITCH)];
        $else
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$list(a,4*t,4)}, [left$(k)+$(16*t*LEFT_PITCH)];
        $end
        $end
        $for n 0 4
        $if RIGHT_T
        ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {b0, b1, b2, b3}, [right$(n)+$(16*k*RIGHT_PITCH)];
        $else
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {b0, b1, b2, b3}, [right$(k)+$(16*n*RIGHT_PITCH)];
        $end
        $for t 0 4
        $for h 0 2
        $let AT 4*(8*t+2*n+h)
        mma.sync.aligned.m16n8k16.row.col.f32.$(T).$(T).f32 {$list(d,AT,4)}, {$list(a,4*t,4)}, {$list(b,2*h,2)}, {$list(d,AT,4)};
        $end
        $end
        $end
        $end
        add.u32 stage, stage, $(STAGE);
        setp.eq.u32 ends, stage, $(4*STAGE);
        selp.b32 stage, 0, stage, ends;
        }
        """;
}
