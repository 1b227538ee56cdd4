using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;

namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>
/// Products of 16-bit matrices on the tensor cores of Hopper, tile by tile: a <see cref="ProductTile"/> in the registers of two warp groups,
/// from 64 columns of depth at a time, of which four are in shared memory. One thread of a third warp group asks the copy engine for
/// them. An operand may lie with its depth together (rows of a left operand, columns of a right one), or across it.
/// A kernel's arguments begin with the tensor maps of both operands; boxes are 64 elements by <see cref="LeftRows"/> or
/// <see cref="RightRows"/>. Shared memory: 192 KiB and the barriers.
/// </summary>
internal static class WgmmaProduct
{
    /// <summary>Depth of a step.</summary>
    public const int Depth = 64;

    /// <summary>Threads of a group.</summary>
    public const int Threads = 384;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = Stages * (ProductTile.BlockM + ProductTile.BlockN) * 2 * Depth + 128;

    private const int Stages = 4;

    /// <summary>Rows of a box of the left operand.</summary>
    public static int LeftRows(bool isTransposed) => isTransposed ? Depth : ProductTile.BlockM;

    /// <summary>Rows of a box of the right operand.</summary>
    public static int RightRows(bool isTransposed) => isTransposed ? Depth : ProductTile.BlockN;

    /// <summary>Lays out shared memory and makes the barriers; returns the warp group: 0 copies, 1 and 2 multiply.</summary>
    /// <param name="leftTransposed">1 where the left operand is stored [depth, row], else 0.</param>
    /// <param name="rightTransposed">1 where the right operand is stored [depth, column], else 0.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Begin<TElement>(int leftTransposed, int rightTransposed) where TElement : struct, ITensorCoreElement
    {
        CudaAsm.Emit("$let IS_BF16 %0", TElement.IsBFloat16);
        CudaAsm.Emit("$let LEFT_T %0", leftTransposed);
        CudaAsm.Emit("$let RIGHT_T %0", rightTransposed);
        CudaAsm.Emit(Layout);
        if (Group.IdxX == 0)
            CudaAsm.Emit(CreateBarriers);
        Group.Barrier();
        return Registers.Uniform(Group.IdxX >> 7);
    }

    /// <summary>The copying warp group begins: it gives its registers away.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void BeginCopies() => CudaAsm.Emit(CopyRegisters);

    /// <summary>Asks for both operands of a step, as soon as its place is free.</summary>
    /// <param name="step">How many steps the group made before.</param>
    /// <param name="row">First row of the tile.</param>
    /// <param name="column">First column of the tile.</param>
    /// <param name="leftDepth">First place along the depth of the left operand.</param>
    /// <param name="rightDepth">The same of the right operand.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(int step, int row, int column, int leftDepth, int rightDepth) =>
        CudaAsm.Emit(Copies, step & 3, (step >> 2 & 1) ^ 1, row, column, leftDepth, rightDepth);

    /// <summary>Asks for all of a row of tiles, one after another; both operands lie with their depth together.</summary>
    /// <param name="row">First row of the tiles.</param>
    /// <param name="column">First column of the first tile.</param>
    /// <param name="endColumn">Where the columns end.</param>
    /// <param name="depth">Length of the depth.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void CopyTiles(int row, int column, int endColumn, int depth)
    {
        int step = 0;
        for (; column < endColumn; column += ProductTile.BlockN)
        {
            for (int place = 0; place < depth; place += Depth)
                Copy(step++, row, column, place, place);
        }
    }

    /// <summary>Multiplies a whole tile; its sums are in the registers d0 .. d127. Returns how many steps the group made.</summary>
    /// <param name="step">How many steps the group made before.</param>
    /// <param name="steps">Steps of a tile.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int MultiplyTile(int step, int steps)
    {
        MultiplyFirst(step++);
        for (int i = 1; i < steps; i++)
            Multiply(step++);
        Finish(step);
        return step;
    }

    /// <summary>A multiplying warp group begins.</summary>
    /// <param name="consumer">0 for the upper 64 rows, 1 for the lower.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void BeginProducts(int consumer) => CudaAsm.Emit(ProductRegisters, consumer * 64 * 128);

    /// <summary>Multiplies a tile's first step: the sums begin.</summary>
    /// <param name="step">How many steps the group made before.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MultiplyFirst(int step) => CudaAsm.Emit("$let FIRST 1\n" + Products, step & 3, step >> 2 & 1);

    /// <summary>Multiplies one step more; the one before is done when this returns.</summary>
    /// <param name="step">How many steps the group made before.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply(int step)
    {
        CudaAsm.Emit("$let FIRST 0\n" + Products, step & 3, step >> 2 & 1);
        CudaAsm.Emit("wgmma.wait_group.sync.aligned 1;");
        CudaAsm.Emit(Release, step - 1 & 3);
    }

    /// <summary>Waits for the last step: the tile's sums are in the registers d0 .. d127.</summary>
    /// <param name="step">How many steps the group made.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Finish(int step)
    {
        CudaAsm.Emit("wgmma.wait_group.sync.aligned 0;");
        CudaAsm.Emit(Release, step - 1 & 3);
    }

    // An operand is made of slabs: rows of 128 bytes, 16-byte pieces swizzled by the row modulo 8. With the depth together one slab
    // holds all rows; across it, one slab holds 64 of them, and there are several.
    private const string Layout = """
        $let T $pick(IS_BF16,bf16,f16)
        $let ROWS 2
        $let PAIRS 32
        $let STAGES 4
        $let LEFT_TILE 128*128
        $let STAGE 128*128+256*128
        $let FULL STAGES*STAGE
        $let EMPTY FULL+8*STAGES
        .reg .b32 shared;
        mov.u32 shared, dynamicShared;
        """;

    private const string CreateBarriers = """
        $for i 0 STAGES
        mbarrier.init.shared::cta.b64 [shared+$(FULL+8*i)], 1;
        mbarrier.init.shared::cta.b64 [shared+$(EMPTY+8*i)], 8;
        $end
        fence.mbarrier_init.release.cluster;
        """;

    private const string CopyRegisters = """
        setmaxnreg.dec.sync.aligned.u32 24;
        .reg .b64 leftMap, rightMap;
        .reg .b32 barrier, tile;
        mov.b64 leftMap, $(PARAMETERS);
        cvta.param.u64 leftMap, leftMap;
        add.u64 rightMap, leftMap, 128;
        """;

    private const string Copies = """
        {
        .reg .pred free;
        .reg .b32 place;
        mad.lo.s32 barrier, %0, 8, shared;
        WAIT:
        mbarrier.try_wait.parity.shared::cta.b64 free, [barrier+$(EMPTY)], %1;
        @!free bra WAIT;
        mbarrier.arrive.expect_tx.shared::cta.b64 _, [barrier+$(FULL)], $(STAGE);
        add.u32 barrier, barrier, $(FULL);
        mad.lo.s32 tile, %0, $(STAGE), shared;
        $if LEFT_T
        $for slab 0 2
        add.s32 place, %2, $(64*slab);
        cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [leftMap, {place, %4}], [barrier];
        add.u32 tile, tile, 8192;
        $end
        $else
        cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [leftMap, {%4, %2}], [barrier];
        add.u32 tile, tile, $(LEFT_TILE);
        $end
        $if RIGHT_T
        $for slab 0 4
        add.s32 place, %3, $(64*slab);
        cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [rightMap, {place, %5}], [barrier];
        add.u32 tile, tile, 8192;
        $end
        $else
        cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [rightMap, {%5, %3}], [barrier];
        $end
        }
        """;

    // Thread t of a warp group holds rows 16 · (t / 32) + t % 32 / 4 and 8 below it, of columns 8 · j + 2 · (t % 4) and the next one:
    // d(4j), d(4j + 1) of the upper row, d(4j + 2), d(4j + 3) of the lower.
    private const string ProductRegisters = """
        setmaxnreg.inc.sync.aligned.u32 240;
        .reg .f32 d<128>;
        .reg .b32 leftRows;
        .reg .pred always, never, leads;
        setp.eq.b32 always, 0, 0;
        setp.ne.b32 never, 0, 0;
        add.u32 leftRows, shared, %0;
        {
        .reg .b32 lane;
        mov.u32 lane, %%laneid;
        setp.eq.u32 leads, lane, 0;
        }
        """;

    // Descriptors: address / 16; 8192 / 16 to the next slab of 64 across the depth; 1024 / 16 to the next 8 rows; 128-byte swizzle.
    private const string Products = """
        {
        .reg .pred done;
        .reg .b32 barrier, address;
        .reg .b64 left, right, a, b;
        mad.lo.s32 barrier, %0, 8, shared;
        WAIT:
        mbarrier.try_wait.parity.shared::cta.b64 done, [barrier+$(FULL)], %1;
        @!done bra WAIT;
        mad.lo.s32 address, %0, $(STAGE), leftRows;
        shr.u32 address, address, 4;
        cvt.u64.u32 left, address;
        or.b64 left, left, 0x4000004002000000;
        mad.lo.s32 address, %0, $(STAGE), shared;
        add.u32 address, address, $(LEFT_TILE);
        shr.u32 address, address, 4;
        cvt.u64.u32 right, address;
        or.b64 right, right, 0x4000004002000000;
        wgmma.fence.sync.aligned;
        $for k 0 4
        add.u64 a, left, $pick(LEFT_T,$(k*128),$(k*2));
        add.u64 b, right, $pick(RIGHT_T,$(k*128),$(k*2));
        wgmma.mma_async.sync.aligned.m64n256k16.f32.$(T).$(T) {$list(d,0,128)}, a, b, $pick(k||!FIRST,always,never), 1, 1, $(LEFT_T), $(RIGHT_T);
        $end
        wgmma.commit_group.sync.aligned;
        }
        """;

    private const string Release = """
        {
        .reg .b32 barrier;
        mad.lo.s32 barrier, %0, 8, shared;
        @leads mbarrier.arrive.shared::cta.b64 _, [barrier+$(EMPTY)];
        }
        """;
}
