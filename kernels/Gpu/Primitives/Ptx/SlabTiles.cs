namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>
/// Tiles of 16-bit matrices in shared memory as Hopper's copy engine writes them and its tensor cores read them: slabs of 64 columns,
/// rows of 128 bytes, 16-byte pieces swizzled by the row modulo 8. A tile has D columns, SLABS slabs. The code expects the registers
/// ‘shared’ (where shared memory begins), ‘maps’ (the address of the kernel's tensor maps), ‘leads’ (true in one lane of a warp),
/// ‘always’ and ‘never’, and the names D and T.
/// </summary>
internal static class SlabTiles
{
    /// <summary>Columns of a slab.</summary>
    public const int Columns = 64;

    /// <summary>Waits at the barrier BARRIER of stage %0 until its phase of parity %1 is over.</summary>
    public const string Await = """
        {
        .reg .pred done;
        .reg .b32 barrier;
        mad.lo.s32 barrier, %0, 8, shared;
        WAIT:
        mbarrier.try_wait.parity.shared::cta.b64 done, [barrier+$(BARRIER)], %1;
        @!done bra WAIT;
        }
        """;

    /// <summary>Announces BYTES that copies will bring to the barrier BARRIER of stage %0.</summary>
    public const string Expect = """
        {
        .reg .b32 barrier;
        mad.lo.s32 barrier, %0, 8, shared;
        mbarrier.arrive.expect_tx.shared::cta.b64 _, [barrier+$(BARRIER)], $(BYTES);
        }
        """;

    /// <summary>The warp is done with what lies behind the barrier BARRIER of stage %0.</summary>
    public const string Release = """
        {
        .reg .b32 barrier;
        mad.lo.s32 barrier, %0, 8, shared;
        @leads mbarrier.arrive.shared::cta.b64 _, [barrier+$(BARRIER)];
        }
        """;

    /// <summary>
    /// Copies a tile of ROWS rows to the place TILE + %0 · STAGE: head %1, rows from %2 on, sequence %3 of the tensor whose map lies MAP
    /// bytes behind the first. Barrier BARRIER of stage %0 counts the bytes.
    /// </summary>
    public const string Copy = """
        {
        .reg .b64 map;
        .reg .b32 tile, barrier;
        mad.lo.s32 barrier, %0, 8, shared;
        add.u32 barrier, barrier, $(BARRIER);
        mad.lo.s32 tile, %0, $(STAGE), shared;
        add.u32 tile, tile, $(TILE);
        add.u64 map, maps, $(MAP);
        $for slab 0 SLABS
        cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [map, {$(64*slab), %1, %2, %3}], [barrier];
        add.u32 tile, tile, $(ROWS*128);
        $end
        }
        """;

    /// <summary>
    /// SUMS = left · rightᵀ, over D columns: 64 rows that the descriptor LEFT names, of a tile of LEFT_ROWS rows, with the WIDTH rows of
    /// the tile at TILE + %0 · STAGE. Descriptors: address / 16, then strides / 16 (8 rows of 128 bytes: 64), 128-byte swizzle.
    /// </summary>
    public const string MultiplyRows = """
        {
        .reg .b32 address;
        .reg .b64 right, a, b;
        mad.lo.s32 address, %0, $(STAGE), shared;
        add.u32 address, address, $(TILE);
        shr.u32 address, address, 4;
        cvt.u64.u32 right, address;
        or.b64 right, right, 0x4000004000010000;
        wgmma.fence.sync.aligned;
        $for k 0 D/16
        add.u64 a, $(LEFT), $((k/4*LEFT_ROWS*128+(k&3)*32)/16);
        add.u64 b, right, $((k/4*WIDTH*128+(k&3)*32)/16);
        wgmma.mma_async.sync.aligned.m64n$(WIDTH)k16.f32.$(T).$(T) {$list(SUMS,0,WIDTH/2)}, a, b, $pick(k,always,never), 1, 1, 0, 0;
        $end
        wgmma.commit_group.sync.aligned;
        }
        """;

    /// <summary>
    /// SUMS += weights · right, over WIDTH rows: the packed registers WEIGHTS with the rows of the tile at TILE + %0 · STAGE, whose
    /// columns lie together: slabs WIDTH · 128 bytes apart.
    /// </summary>
    public const string AddProduct = """
        {
        .reg .b32 address;
        .reg .b64 right, b;
        mad.lo.s32 address, %0, $(STAGE), shared;
        add.u32 address, address, $(TILE);
        shr.u32 address, address, 4;
        cvt.u64.u32 right, address;
        or.b64 right, right, $(0x4000004000000000+(WIDTH*8<<16));
        wgmma.fence.sync.aligned;
        $for k 0 WIDTH/16
        add.u64 b, right, $(k*2048/16);
        wgmma.mma_async.sync.aligned.m64n$(D)k16.f32.$(T).$(T) {$list(SUMS,0,D/2)}, {$list(WEIGHTS,4*k,4)}, b, always, 1, 1, 1;
        $end
        wgmma.commit_group.sync.aligned;
        }
        """;

    /// <summary>All products but those that were asked for last are done.</summary>
    public const string WaitForEarlier = "wgmma.wait_group.sync.aligned 1;";

    /// <summary>Of three products that are under way the first is done.</summary>
    public const string WaitForFirstOfThree = "wgmma.wait_group.sync.aligned 2;";

    /// <summary>All products are done.</summary>
    public const string WaitForAll = "wgmma.wait_group.sync.aligned 0;";
}
