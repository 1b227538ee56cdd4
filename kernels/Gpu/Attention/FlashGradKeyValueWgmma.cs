using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// <see cref="FlashGradKeyValue"/> on the tensor cores of Hopper (Shah et al. 2024, arXiv:2407.08608), both gradients at once: 16-bit
/// operands, float32 sums. One group owns 128 keys of one key/value head and loops over the blocks of BlockM query rows that see
/// some of them, of every query head of that head; each of two warp groups has 64 keys:
/// <code>
/// xᵀ = key · queryᵀ    yᵀ = value · gradOutputᵀ    pᵀ = exp(scale · x − lse)    dᵀ = pᵀ · (y − δ)
/// gradValue += pᵀ · gradOutput                     gradKey += dᵀ · query
/// </code>
/// One block's dᵀ · query is multiplied while the next one's weights are made. Transposed, p and d are left operands in registers
/// already. No two groups add to the same number. Shared memory: keys and values, four stages of query, gradOutput, lse and δ, barriers:
/// 4 · headDim · (128 + 4 · BlockM) + 32 · BlockM + 128 bytes. 8 · rows · keys · headDim FLOPs.
/// Rows past the end count as zero; hidden keys weigh 0, so infinities and NaNs of a row reach all keys of a block that it meets.
/// </summary>
internal static class FlashGradKeyValueWgmma
{
    private const int Stages = 4;

    /// <summary>Shared memory of a group.</summary>
    public static int SharedBytes<TTile>() where TTile : struct, IBackwardWgmmaTile =>
        4 * TTile.HeadDim * (BackwardWgmma.Rows + Stages * TTile.BlockM) + Stages * 8 * TTile.BlockM + 128;

    /// <summary>The kernel; one group for each block of 128 keys of each key/value head of each sequence.</summary>
    public static void FlashAttentionGradKeyValueWgmma<TTile, TElement>(BackwardWgmma.Parameters p)
        where TTile : struct, IBackwardWgmmaTile
        where TElement : struct, ITensorCoreElement
    {
        BackwardWgmma.Begin<TTile, TElement>(TTile.BlockM);
        CudaAsm.Emit(Layout);
        int warpGroup = Registers.Uniform(Group.IdxX >> 7), numKvHeads = p.NumHeads / p.GroupSize;
        // The first key blocks are seen by the most queries: they start first.
        int key0 = Registers.Pin(Grid.IdxX % p.Blocks * BackwardWgmma.Rows);
        int kvHead = Registers.Pin(Grid.IdxX / p.Blocks % numKvHeads), batch = Registers.Pin(Grid.IdxX / p.Blocks / numKvHeads);
        // Blocks of query rows: those from the first on see some of the keys, those from ‘full’ on see all.
        long diagonal = BackwardWgmma.Diagonal(ref p);
        int firstBlock = Registers.Pin(ScoreRange.Within(key0 - diagonal, p.QueryLength) / TTile.BlockM);
        int fullBlock = Registers.Pin(
            (ScoreRange.Within(key0 + BackwardWgmma.Rows - 1 - diagonal, p.QueryLength) + TTile.BlockM - 1) / TTile.BlockM);
        int endBlock = Registers.Pin((p.QueryLength + TTile.BlockM - 1) / TTile.BlockM);

        if (Group.IdxX == 0)
            CudaAsm.Emit(CreateBarriers);
        Group.Barrier();
        if (warpGroup == 0)
        {
            CudaAsm.Emit(BackwardWgmma.BeginCopies);
            if (Group.IdxX == 0 && firstBlock < endBlock)
                Copy<TTile>(ref p, key0, kvHead, batch, firstBlock, endBlock);
        }
        else
        {
            int lane = Group.IdxX & 31, column = MatrixLanes.ResultColumn(lane);
            int key = key0 + 64 * (warpGroup - 1) + (Group.IdxX >> 5 & 3) * 16 + MatrixLanes.ResultRow(lane);
            CudaAsm.Emit(BackwardWgmma.BeginProducts, p.SoftmaxScale * 1.44269504f, (warpGroup - 1) * 64 * 128);
            CudaAsm.Emit(Sums, 4 * column);
            if (firstBlock < endBlock)
            {
                int begin = Registers.Pin(ScoreRange.Bounded(key - diagonal - column));
                Multiply<TTile>(begin, Registers.Pin(p.GroupSize), firstBlock, fullBlock, endBlock);
            }
            Store(ref p, key, column, kvHead, batch);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy<TTile>(ref BackwardWgmma.Parameters p, int key0, int kvHead, int batch, int firstBlock, int endBlock)
        where TTile : struct, IBackwardWgmmaTile
    {
        CudaAsm.Emit(ExpectOwn, 0);
        CudaAsm.Emit(CopyKeys, 0, kvHead, key0, batch);
        CudaAsm.Emit(CopyValues, 0, kvHead, key0, batch);
        int step = 0;
        for (int i = 0; i < p.GroupSize; i++)
        {
            int head = kvHead * p.GroupSize + i;
            long statistics = p.Statistics + 8L * ((long)batch * p.NumHeads + head) * p.StatisticStride;
            for (int block = firstBlock; block < endBlock; block++, step++)
            {
                int stage = step & 3, row = block * TTile.BlockM;
                CudaAsm.Emit(AwaitEmpty, stage, (step >> 2 & 1) ^ 1);
                CudaAsm.Emit(ExpectBlock, stage);
                CudaAsm.Emit(CopyQueries, stage, head, row, batch);
                CudaAsm.Emit(CopyGradients, stage, head, row, batch);
                CudaAsm.Emit(CopyStatistics, stage, statistics + 4L * row, statistics + 4L * (row + p.StatisticStride));
            }
        }
    }

    // All steps of all heads; ‘begin’ is the first query row that sees the thread's first key, less the thread's first column. No product is
    // under way from one step to the next: the assembler would wait for each of them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply<TTile>(int begin, int groupSize, int firstBlock, int fullBlock, int endBlock) where TTile : struct, IBackwardWgmmaTile
    {
        CudaAsm.Emit(AwaitOwn, 0, 0);
        CudaAsm.Emit(AwaitFull, 0, 0);
        CudaAsm.Emit(MultiplyKeys, 0);
        if (TTile.StartsAllAtOnce != 0)
        {
            CudaAsm.Emit(MultiplyValues, 0);
            CudaAsm.Emit(SlabTiles.WaitForEarlier);
        }
        else
        {
            CudaAsm.Emit(SlabTiles.WaitForAll);
        }
        CudaAsm.Emit(Mask, begin - firstBlock * TTile.BlockM);
        Finish<TTile>(0);
        CudaAsm.Emit(SlabTiles.WaitForAll);
        int step = 1, block = firstBlock + 1;
        for (int head = 0; head < groupSize; head++)
        {
            for (; block < fullBlock; block++, step++)
            {
                Begin<TTile>(step);
                CudaAsm.Emit(Mask, begin - block * TTile.BlockM);
                Finish<TTile>(step & 3);
                End(step);
            }
            for (; block < endBlock; block++, step++)
            {
                Begin<TTile>(step);
                Finish<TTile>(step & 3);
                End(step);
            }
            block = firstBlock;
        }
        CudaAsm.Emit(AddKeys, step - 1 & 3);
        CudaAsm.Emit(SlabTiles.WaitForAll);
    }

    // Asks for the products of a block, and for the last one of the block before; the scores are there on return.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Begin<TTile>(int step) where TTile : struct, IBackwardWgmmaTile
    {
        CudaAsm.Emit(AwaitFull, step & 3, step >> 2 & 1);
        CudaAsm.Emit(MultiplyKeys, step & 3);
        CudaAsm.Emit(AddKeys, step - 1 & 3);
        if (TTile.StartsAllAtOnce != 0)
        {
            CudaAsm.Emit(MultiplyValues, step & 3);
            CudaAsm.Emit(SlabTiles.WaitForFirstOfThree);
        }
        else
        {
            CudaAsm.Emit(SlabTiles.WaitForEarlier);
        }
    }

    // Makes weights while other products go on, and gradients of scores while the weights are multiplied.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish<TTile>(int stage) where TTile : struct, IBackwardWgmmaTile
    {
        CudaAsm.Emit(Weigh, stage);
        if (TTile.StartsAllAtOnce == 0)
        {
            CudaAsm.Emit(SlabTiles.WaitForAll);
            CudaAsm.Emit(MultiplyValues, stage);
        }
        CudaAsm.Emit(AddValues, stage);
        CudaAsm.Emit(SlabTiles.WaitForEarlier);
        CudaAsm.Emit(Differentiate, stage);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void End(int step)
    {
        CudaAsm.Emit(SlabTiles.WaitForAll);
        CudaAsm.Emit(ReleaseBlock, step - 1 & 3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ref BackwardWgmma.Parameters p, int key, int column, int kvHead, int batch)
    {
        int first = key < p.KvLength ? 1 : 0, second = key + 8 < p.KvLength ? 1 : 0;
        if (p.GradValue.Address != 0)
        {
            long address = p.GradValue.At(batch, key, kvHead) + 2 * column;
            CudaAsm.Emit(StoreValues, address, address + 16 * p.GradValue.TokenStride, first, second, 1f);
        }
        if (p.GradKey.Address != 0)
        {
            long address = p.GradKey.At(batch, key, kvHead) + 2 * column;
            CudaAsm.Emit(StoreKeys, address, address + 16 * p.GradKey.TokenStride, first, second, p.SoftmaxScale);
        }
    }

    private const string Layout = """
        $let STAGES 4
        $let STAGE 2*STEP
        $let QUERIES 2*OWN
        $let GRADIENTS QUERIES+STEP
        $let STATISTICS QUERIES+STAGES*STAGE
        $let FULL_OWN STATISTICS+STAGES*8*WIDTH
        $let FULL FULL_OWN+8
        $let EMPTY FULL+8*STAGES
        """;

    // Every multiplying warp says when it has read a block.
    private const string CreateBarriers = """
        mbarrier.init.shared::cta.b64 [shared+$(FULL_OWN)], 1;
        $for i 0 STAGES
        mbarrier.init.shared::cta.b64 [shared+$(FULL+8*i)], 1;
        mbarrier.init.shared::cta.b64 [shared+$(EMPTY+8*i)], 8;
        $end
        fence.mbarrier_init.release.cluster;
        """;

    private const string ExpectOwn = "$let BARRIER FULL_OWN\n$let BYTES 2*OWN\n" + SlabTiles.Expect;
    private const string CopyKeys = "$let ROWS LEFT_ROWS\n$let TILE 0\n$let MAP 256\n" + SlabTiles.Copy;
    private const string CopyValues = "$let TILE OWN\n$let MAP 384\n" + SlabTiles.Copy;
    private const string AwaitEmpty = "$let BARRIER EMPTY\n" + SlabTiles.Await;
    private const string ExpectBlock = "$let BARRIER FULL\n$let BYTES STAGE+8*WIDTH\n" + SlabTiles.Expect;
    private const string CopyQueries = "$let ROWS WIDTH\n$let TILE QUERIES\n$let MAP 0\n" + SlabTiles.Copy;
    private const string CopyGradients = "$let TILE GRADIENTS\n$let MAP 128\n" + SlabTiles.Copy;

    // %0 stage, %1 and %2 addresses of the block's −lse · log2 e and δ.
    private const string CopyStatistics = """
        {
        .reg .b32 to, barrier;
        mad.lo.s32 barrier, %0, 8, shared;
        add.u32 barrier, barrier, $(FULL);
        mad.lo.s32 to, %0, $(8*WIDTH), shared;
        add.u32 to, to, $(STATISTICS);
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [to], [%1], $(4*WIDTH), [barrier];
        add.u32 to, to, $(4*WIDTH);
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [to], [%2], $(4*WIDTH), [barrier];
        }
        """;

    private const string AwaitOwn = "$let BARRIER FULL_OWN\n" + SlabTiles.Await;
    private const string AwaitFull = "$let BARRIER FULL\n" + SlabTiles.Await;
    // Its statistics are read by every lane.
    private const string ReleaseBlock = "bar.warp.sync 0xFFFFFFFF;\n$let BARRIER EMPTY\n" + SlabTiles.Release;
    private const string MultiplyKeys = "$let SUMS s\n$let LEFT first\n$let TILE QUERIES\n" + SlabTiles.MultiplyRows;
    private const string MultiplyValues = "$let SUMS x\n$let LEFT second\n$let TILE GRADIENTS\n" + SlabTiles.MultiplyRows;
    private const string AddValues = "$let SUMS o\n$let WEIGHTS w\n$let TILE GRADIENTS\n" + SlabTiles.AddProduct;
    private const string AddKeys = "$let SUMS g\n$let WEIGHTS d\n$let TILE QUERIES\n" + SlabTiles.AddProduct;
    private const string StoreValues = "$let SUMS o\n" + BackwardWgmma.StoreRows;
    private const string StoreKeys = "$let SUMS g\n" + BackwardWgmma.StoreRows;

    // Sums of gradKey, scores' gradients. %0 bytes to the thread's first column in a row of statistics. Thread t of a warp group holds keys
    // 16 · (t / 32) + t % 32 / 4 and 8 below it, of columns 8 · j + 2 · (t % 4) and the next one: s(4j), s(4j + 1) of the upper key,
    // s(4j + 2), s(4j + 3) of the lower.
    private const string Sums = """
        .reg .f32 g<$(D/2)>;
        .reg .b32 d<$(WIDTH/4)>;
        .reg .b32 statistics;
        $for i 0 D/2
        mov.f32 g$(i), 0f00000000;
        $end
        add.u32 statistics, shared, %0;
        add.u32 statistics, statistics, $(STATISTICS);
        """;

    // %0 the first row of the block that sees the upper key, less the thread's first column; the lower key is 8 behind.
    private const string Mask = """
        {
        .reg .pred hides;
        .reg .b32 lower;
        add.s32 lower, %0, 8;
        $for j 0 WIDTH/8
        $for e 0 2
        setp.gt.s32 hides, %0, $(8*j+e);
        selp.f32 s$(4*j+e), 0fFF800000, s$(4*j+e), hides;
        setp.gt.s32 hides, lower, $(8*j+e);
        selp.f32 s$(4*j+2+e), 0fFF800000, s$(4*j+2+e), hides;
        $end
        $end
        }
        """;

    // Of both: %0 stage.
    private const string Weigh = """
        {
        .reg .b32 at;
        .reg .f32 c<2>;
        mad.lo.s32 at, %0, $(8*WIDTH), statistics;
        $for j 0 WIDTH/8
        ld.shared.v2.f32 {c0, c1}, [at+$(32*j)];
        $for r 0 2
        $for e 0 2
        fma.rn.ftz.f32 s$(4*j+2*r+e), s$(4*j+2*r+e), scale, c$(e);
        ex2.approx.ftz.f32 s$(4*j+2*r+e), s$(4*j+2*r+e);
        $end
        cvt.rn.$(T)x2.f32 w$(2*j+r), s$(4*j+2*r+1), s$(4*j+2*r);
        $end
        $end
        }
        """;

    private const string Differentiate = """
        {
        .reg .b32 at;
        .reg .f32 c<2>;
        mad.lo.s32 at, %0, $(8*WIDTH), statistics;
        $for j 0 WIDTH/8
        ld.shared.v2.f32 {c0, c1}, [at+$(4*WIDTH+32*j)];
        $for r 0 2
        $for e 0 2
        sub.ftz.f32 x$(4*j+2*r+e), x$(4*j+2*r+e), c$(e);
        mul.ftz.f32 x$(4*j+2*r+e), x$(4*j+2*r+e), s$(4*j+2*r+e);
        $end
        cvt.rn.$(T)x2.f32 d$(2*j+r), x$(4*j+2*r+1), x$(4*j+2*r);
        $end
        $end
        }
        """;
}
