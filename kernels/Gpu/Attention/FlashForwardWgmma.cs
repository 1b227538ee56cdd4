using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// <see cref="FlashForward"/> on the tensor cores of Hopper (Shah et al. 2024, arXiv:2407.08608): 16-bit operands, float32 sums.
/// One group computes 64 · Consumers query rows of one head. Two threads of the first warp group ask the copy engine for the
/// queries and for blocks of BlockN keys, and for those of values, from the last visible block to the first; each of the other
/// warp groups owns 64 rows: its softmax of one block runs while the tensor cores multiply the next block's keys and the
/// last block's values. Scores and sums stay in registers; the weights become 16-bit operands
/// there. Logarithms inside are base 2, the lse that is stored is natural.
/// Shared memory: 128 · (64 · Consumers + 4 · BlockN) · headDim / 64 bytes and the barriers. 4 · rows · keys · headDim FLOPs.
/// Rows past the end are loaded as zero; hidden keys weigh 0, so infinities and NaNs in values of a block reach all its rows.
/// </summary>
internal static class FlashForwardWgmma
{
    /// <summary>Warp groups that multiply, with 64 query rows each; with three, threads have too few registers.</summary>
    public const int Consumers = 2;

    // Blocks of keys, and of values, in shared memory at a time; three were not faster.
    private const int Stages = 2;

    /// <summary>The arguments. Strides are in elements.</summary>
    internal struct Parameters
    {
        public TensorMap Query, Key, Value; // [batchSize, tokens, heads, headDim], boxes of 64 elements by 64 rows or BlockN keys
        public TokenAddress Output;         // [batchSize, queryLength, numHeads, headDim]
        public long Lse;                    // [batchSize, numHeads, queryLength], or 0
        public long LseBatchStride, LseHeadStride;
        public int NumHeads, GroupSize, QueryLength, KvLength, QueryBlocks, IsCausal;
        public float SoftmaxScaleLog2;      // softmaxScale · log2 e, positive
    }

    /// <summary>Shared memory of a group: tiles, then the barriers.</summary>
    public static int SharedBytes<TTile>() where TTile : struct, IWgmmaTile =>
        TTile.HeadDim / 64 * 128 * (64 * Consumers + 2 * Stages * TTile.BlockN) + 128;

    /// <summary>The kernel; one group for each query block of each head of each sequence.</summary>
    public static void FlashAttentionForwardWgmma<TTile, TElement>(Parameters p)
        where TTile : struct, IWgmmaTile
        where TElement : struct, ITensorCoreElement
    {
        Constants<TTile, TElement>();
        int warpGroup = Registers.Uniform(Group.IdxX >> 7);
        // The last query blocks see the most keys: they start first.
        int row0 = Registers.Pin((p.QueryBlocks - 1 - Grid.IdxX % p.QueryBlocks) * 64 * Consumers);
        int head = Registers.Pin(Grid.IdxX / p.QueryBlocks % p.NumHeads), batch = Registers.Pin(Grid.IdxX / p.QueryBlocks / p.NumHeads);
        int blocks = Registers.Pin((VisibleKeys(ref p, row0 + 64 * Consumers - 1) + TTile.BlockN - 1) / TTile.BlockN);

        CudaAsm.Emit(Layout);
        if (Group.IdxX == 0)
            CudaAsm.Emit(CreateBarriers);
        Group.Barrier();
        if (warpGroup == 0)
        {
            CudaAsm.Emit("setmaxnreg.dec.sync.aligned.u32 24;");
            Produce<TTile>(ref p, row0, head, batch, blocks);
        }
        else
        {
            CudaAsm.Emit("setmaxnreg.inc.sync.aligned.u32 240;");
            Consume<TTile>(ref p, row0 + 64 * (warpGroup - 1), warpGroup - 1, head, batch, blocks);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Constants<TTile, TElement>() where TTile : struct, IWgmmaTile where TElement : struct, ITensorCoreElement
    {
        CudaAsm.Emit("$let D %0", TTile.HeadDim);
        CudaAsm.Emit("$let N %0", TTile.BlockN);
        CudaAsm.Emit("$let CONSUMERS %0", Consumers);
        CudaAsm.Emit("$let IS_BF16 %0", TElement.IsBFloat16);
    }

    // Also for the rows past the last query of the last block.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int VisibleKeys(ref Parameters p, int row)
    {
        int visible = p.IsCausal != 0 ? row + 1 - p.QueryLength + p.KvLength : p.KvLength;
        visible = visible < p.KvLength ? visible : p.KvLength;
        return visible > 0 ? visible : 0;
    }

    // A tile is made of slabs of 64 columns: rows of 128 bytes, 16-byte pieces swizzled by the row modulo 8.
    private const string Layout = """
        $let T $pick(IS_BF16,bf16,f16)
        $let STAGES 2
        $let SLABS D/64
        $let WIDTH N
        $let LEFT_ROWS 64*CONSUMERS
        $let KEYS SLABS*LEFT_ROWS*128
        $let STAGE SLABS*N*128
        $let VALUES KEYS+STAGES*STAGE
        $let FULL_Q VALUES+STAGES*STAGE
        $let FULL_K FULL_Q+8
        $let EMPTY_K FULL_K+8*STAGES
        $let FULL_V EMPTY_K+8*STAGES
        $let EMPTY_V FULL_V+8*STAGES
        .reg .b32 shared;
        mov.u32 shared, dynamicShared;
        """;

    // Every consuming warp says when it has read a block.
    private const string CreateBarriers = """
        mbarrier.init.shared::cta.b64 [shared+$(FULL_Q)], 1;
        $for i 0 STAGES
        mbarrier.init.shared::cta.b64 [shared+$(FULL_K+8*i)], 1;
        mbarrier.init.shared::cta.b64 [shared+$(FULL_V+8*i)], 1;
        mbarrier.init.shared::cta.b64 [shared+$(EMPTY_K+8*i)], $(4*CONSUMERS);
        mbarrier.init.shared::cta.b64 [shared+$(EMPTY_V+8*i)], $(4*CONSUMERS);
        $end
        fence.mbarrier_init.release.cluster;
        """;

    private const string BeginCopies = """
        .reg .b64 maps;
        mov.b64 maps, $(PARAMETERS);
        cvta.param.u64 maps, maps;
        """;

    private const string ExpectQueries = "$let BARRIER FULL_Q\n$let BYTES SLABS*LEFT_ROWS*128\n" + SlabTiles.Expect;
    private const string CopyQueries = "$let ROWS LEFT_ROWS\n$let TILE 0\n$let MAP 0\n" + SlabTiles.Copy;
    private const string AwaitEmptyKeys = "$let BARRIER EMPTY_K\n" + SlabTiles.Await;
    private const string ExpectKeys = "$let BARRIER FULL_K\n$let BYTES STAGE\n" + SlabTiles.Expect;
    private const string CopyKeys = "$let ROWS N\n$let TILE KEYS\n$let MAP 128\n" + SlabTiles.Copy;
    private const string AwaitEmptyValues = "$let BARRIER EMPTY_V\n" + SlabTiles.Await;
    private const string ExpectValues = "$let BARRIER FULL_V\n$let BYTES STAGE\n" + SlabTiles.Expect;
    private const string CopyValues = "$let ROWS N\n$let TILE VALUES\n$let MAP 256\n" + SlabTiles.Copy;

    // Keys and values have a thread each: the next keys do not wait until values are free, which is later.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Produce<TTile>(ref Parameters p, int row0, int head, int batch, int blocks) where TTile : struct, IWgmmaTile
    {
        CudaAsm.Emit(BeginCopies);
        int kvHead = Registers.Pin(head / p.GroupSize), key0 = (blocks - 1) * TTile.BlockN;
        if (Group.IdxX == 0)
        {
            CudaAsm.Emit(ExpectQueries, 0);
            CudaAsm.Emit(CopyQueries, 0, head, row0, batch);
            for (int i = 0; i < blocks; i++, key0 -= TTile.BlockN)
            {
                CudaAsm.Emit(AwaitEmptyKeys, i & 1, (i >> 1 & 1) ^ 1);
                CudaAsm.Emit(ExpectKeys, i & 1);
                CudaAsm.Emit(CopyKeys, i & 1, kvHead, key0, batch);
            }
        }
        else if (Group.IdxX == 32)
        {
            for (int i = 0; i < blocks; i++, key0 -= TTile.BlockN)
            {
                CudaAsm.Emit(AwaitEmptyValues, i & 1, (i >> 1 & 1) ^ 1);
                CudaAsm.Emit(ExpectValues, i & 1);
                CudaAsm.Emit(CopyValues, i & 1, kvHead, key0, batch);
            }
        }
    }

    // Thread t of a warp group holds rows 16 · (t / 32) + t % 32 / 4 and 8 below it, of columns 8 · j + 2 · (t % 4) and the next one:
    // s(4j), s(4j + 1) of the upper row, s(4j + 2), s(4j + 3) of the lower.
    private const string ConsumerRegisters = """
        .reg .f32 s<$(N/2)>;
        .reg .f32 o<$(D/2)>;
        .reg .b32 w<$(N/4)>;
        .reg .f32 max0, max1, sum0, sum1, scale, shift0, shift1, rescale0, rescale1, new0, new1;
        .reg .b64 queries;
        .reg .pred never, always, leads, hides;
        setp.ne.b32 never, 0, 0;
        setp.eq.b32 always, 0, 0;
        $for i 0 D/2
        mov.f32 o$(i), 0f00000000;
        $end
        mov.f32 max0, 0fFF800000;
        mov.f32 max1, 0fFF800000;
        mov.f32 sum0, 0f00000000;
        mov.f32 sum1, 0f00000000;
        mov.f32 scale, %0;
        {
        .reg .b32 lane, address;
        mov.u32 lane, %%laneid;
        setp.eq.u32 leads, lane, 0;
        add.u32 address, shared, %1;
        shr.u32 address, address, 4;
        cvt.u64.u32 queries, address;
        or.b64 queries, queries, 0x4000004000010000;
        }
        """;

    private const string AwaitQueries = "$let BARRIER FULL_Q\n" + SlabTiles.Await;
    private const string AwaitKeys = "$let BARRIER FULL_K\n" + SlabTiles.Await;
    private const string AwaitValues = "$let BARRIER FULL_V\n" + SlabTiles.Await;
    private const string MultiplyKeys = "$let SUMS s\n$let LEFT queries\n$let TILE KEYS\n" + SlabTiles.MultiplyRows;
    private const string MultiplyValues = "$let SUMS o\n$let WEIGHTS w\n$let TILE VALUES\n" + SlabTiles.AddProduct;
    private const string ReleaseKeys = "$let BARRIER EMPTY_K\n" + SlabTiles.Release;
    private const string ReleaseValues = "$let BARRIER EMPTY_V\n" + SlabTiles.Release;

    // %0 and %1: keys that the upper and the lower row see, less the first key of the block and of the thread.
    private const string Mask = """
        $for j 0 N/8
        $for e 0 2
        setp.gt.s32 hides, %0, $(8*j+e);
        selp.f32 s$(4*j+e), s$(4*j+e), 0fFF800000, hides;
        setp.gt.s32 hides, %1, $(8*j+e);
        selp.f32 s$(4*j+2+e), s$(4*j+2+e), 0fFF800000, hides;
        $end
        $end
        """;

    // Scores become weights; maxima and sums go on. A row that saw nothing yet has shift 0, so that no −∞ is subtracted from −∞.
    // There is no branch here or in Rescale: with one, the driver's assembler keeps accumulators in local memory, and a third of
    // the speed is lost.
    private const string Softmax = """
        {
        .reg .f32 other, most<4>;
        .reg .pred none;
        $for i 0 4
        max.f32 most$(i), s$(i), s$(4+i);
        $end
        $for j 2 N/8
        $for i 0 4
        max.f32 most$(i), most$(i), s$(4*j+i);
        $end
        $end
        $for r 0 2
        max.f32 new$(r), most$(2*r), most$(2*r+1);
        shfl.sync.bfly.b32 other, new$(r), 1, 31, -1;
        max.f32 new$(r), new$(r), other;
        shfl.sync.bfly.b32 other, new$(r), 2, 31, -1;
        max.f32 new$(r), new$(r), other;
        max.f32 new$(r), new$(r), max$(r);
        mul.ftz.f32 shift$(r), new$(r), scale;
        setp.eq.f32 none, new$(r), 0fFF800000;
        selp.f32 shift$(r), 0f00000000, shift$(r), none;
        neg.f32 shift$(r), shift$(r);
        fma.rn.ftz.f32 rescale$(r), max$(r), scale, shift$(r);
        ex2.approx.ftz.f32 rescale$(r), rescale$(r);
        mov.f32 max$(r), new$(r);
        mul.ftz.f32 sum$(r), sum$(r), rescale$(r);
        $end
        $for j 0 N/8
        $for r 0 2
        $for e 0 2
        fma.rn.ftz.f32 s$(4*j+2*r+e), s$(4*j+2*r+e), scale, shift$(r);
        ex2.approx.ftz.f32 s$(4*j+2*r+e), s$(4*j+2*r+e);
        add.ftz.f32 sum$(r), sum$(r), s$(4*j+2*r+e);
        $end
        $end
        $end
        }
        """;

    private const string Rescale = """
        $for j 0 D/8
        $for e 0 2
        mul.ftz.f32 o$(4*j+e), o$(4*j+e), rescale0;
        mul.ftz.f32 o$(4*j+2+e), o$(4*j+2+e), rescale1;
        $end
        $end
        """;

    private const string PackWeights = """
        $for i 0 N/4
        cvt.rn.$(T)x2.f32 w$(i), s$(2*i+1), s$(2*i);
        $end
        """;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Consume<TTile>(ref Parameters p, int row0, int consumer, int head, int batch, int blocks) where TTile : struct, IWgmmaTile
    {
        CudaAsm.Emit(ConsumerRegisters, p.SoftmaxScaleLog2, consumer * 64 * 128);
        int lane = Group.IdxX & 31, row = row0 + (Group.IdxX >> 5 & 3) * 16 + MatrixLanes.ResultRow(lane), column = MatrixLanes.ResultColumn(lane);
        if (blocks > 0)
        {
            int limit0 = Registers.Pin(VisibleKeys(ref p, row) - column), limit1 = Registers.Pin(VisibleKeys(ref p, row + 8) - column);
            int masked = Registers.Pin(blocks - VisibleKeys(ref p, row0) / TTile.BlockN);
            int key0 = (blocks - 1) * TTile.BlockN;
            CudaAsm.Emit(AwaitQueries, 0, 0);
            CudaAsm.Emit(AwaitKeys, 0, 0);
            CudaAsm.Emit(MultiplyKeys, 0);
            CudaAsm.Emit(SlabTiles.WaitForAll);
            CudaAsm.Emit(ReleaseKeys, 0);
            CudaAsm.Emit(Mask, limit0 - key0, limit1 - key0);
            CudaAsm.Emit(Softmax);
            CudaAsm.Emit(PackWeights);
            int i = 1;
            for (; i < blocks && i < masked; i++)
            {
                key0 -= TTile.BlockN;
                int stage = i & 1, last = stage ^ 1;
                MultiplyBlock(i, stage, last);
                CudaAsm.Emit(Mask, limit0 - key0, limit1 - key0);
                FinishBlock(last);
            }
            for (; i < blocks; i++)
            {
                int stage = i & 1, last = stage ^ 1;
                MultiplyBlock(i, stage, last);
                FinishBlock(last);
            }
            CudaAsm.Emit(AwaitValues, blocks - 1 & 1, blocks - 1 >> 1 & 1);
            CudaAsm.Emit(MultiplyValues, blocks - 1 & 1);
            CudaAsm.Emit(SlabTiles.WaitForAll);
        }
        Store(ref p, row, column, head, batch);
    }

    // Starts the products with the i-th block's keys and with the values of the one before; the scores are there on return.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyBlock(int i, int stage, int last)
    {
        CudaAsm.Emit(AwaitKeys, stage, i >> 1 & 1);
        CudaAsm.Emit(MultiplyKeys, stage);
        CudaAsm.Emit(AwaitValues, last, i - 1 >> 1 & 1);
        CudaAsm.Emit(MultiplyValues, last);
        CudaAsm.Emit(SlabTiles.WaitForEarlier);
        CudaAsm.Emit(ReleaseKeys, stage);
    }

    // Makes weights of the scores while the values are multiplied, and waits for those.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishBlock(int last)
    {
        CudaAsm.Emit(Softmax);
        CudaAsm.Emit(SlabTiles.WaitForAll);
        CudaAsm.Emit(ReleaseValues, last);
        CudaAsm.Emit(Rescale);
        CudaAsm.Emit(PackWeights);
    }

    // %0, %1 addresses of the rows' first elements, %2, %3 whether the rows exist.
    private const string StoreRows = """
        {
        .reg .f32 other, inverse;
        .reg .pred seen, exists;
        .reg .b32 pair;
        $for r 0 2
        shfl.sync.bfly.b32 other, sum$(r), 1, 31, -1;
        add.f32 sum$(r), sum$(r), other;
        shfl.sync.bfly.b32 other, sum$(r), 2, 31, -1;
        add.f32 sum$(r), sum$(r), other;
        setp.neu.f32 seen, sum$(r), 0f00000000;
        rcp.approx.ftz.f32 inverse, sum$(r);
        selp.f32 inverse, inverse, 0f00000000, seen;
        setp.ne.s32 exists, $pick(r,%3,%2), 0;
        $for j 0 D/8
        mul.f32 o$(4*j+2*r), o$(4*j+2*r), inverse;
        mul.f32 o$(4*j+2*r+1), o$(4*j+2*r+1), inverse;
        cvt.rn.$(T)x2.f32 pair, o$(4*j+2*r+1), o$(4*j+2*r);
        @exists st.global.b32 [$pick(r,%1,%0)+$(16*j)], pair;
        $end
        $end
        }
        """;

    // %0, %1 addresses of the two rows' results, %2, %3 whether to write them. ln 2 = 0x3F317218.
    private const string StoreLse = """
        {
        .reg .f32 lse;
        .reg .pred writes;
        $for r 0 2
        setp.ne.s32 writes, $pick(r,%3,%2), 0;
        lg2.approx.f32 lse, sum$(r);
        fma.rn.f32 lse, max$(r), scale, lse;
        mul.f32 lse, lse, 0f3F317218;
        @writes st.global.f32 [$pick(r,%1,%0)], lse;
        $end
        }
        """;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ref Parameters p, int row, int column, int head, int batch)
    {
        long address = p.Output.Address + 2 * (batch * p.Output.BatchStride + row * p.Output.TokenStride + head * p.Output.HeadStride + column);
        CudaAsm.Emit(
            StoreRows, address, address + 16 * p.Output.TokenStride, row < p.QueryLength ? 1 : 0, row + 8 < p.QueryLength ? 1 : 0);
        if (p.Lse == 0)
            return;
        long lse = p.Lse + 4 * (batch * p.LseBatchStride + head * p.LseHeadStride + row);
        CudaAsm.Emit(
            StoreLse, lse, lse + 32, column == 0 && row < p.QueryLength ? 1 : 0, column == 0 && row + 8 < p.QueryLength ? 1 : 0);
    }
}
