using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// <see cref="FlashGradQuery"/> on the tensor cores of Hopper (Shah et al. 2024, arXiv:2407.08608), by rows instead of keys so that no
/// two groups add to the same number: 16-bit operands, float32 sums.
/// <code>
/// x = query · keyᵀ     y = gradOutput · valueᵀ     d = exp(scale · x − lse) · (y − δ)     gradQuery += d · key
/// </code>
/// One group owns 128 query rows of one head, 64 to each of two warp groups, and loops over blocks of BlockN keys, from the last that a row
/// sees to the first. While a warp group makes the weights of one block and its d, the tensor cores have its y, the last block's d · key
/// and the next one's x to multiply: scores have two sets of registers, which take turns. Shared memory: query and gradOutput, four
/// stages of keys and values, barriers: 4 · headDim · (128 + 4 · BlockN) + 256 bytes. 6 · rows · keys · headDim FLOPs.
/// Hidden keys weigh 0, so infinities and NaNs in keys and values of a block reach all its rows.
/// </summary>
internal static class FlashGradQueryWgmma
{
    private const int Stages = 4;

    /// <summary>Shared memory of a group.</summary>
    public static int SharedBytes<TTile>() where TTile : struct, IBackwardWgmmaTile =>
        4 * TTile.HeadDim * (BackwardWgmma.Rows + Stages * TTile.BlockN) + 256;

    /// <summary>The kernel; one group for each block of 128 query rows of each head of each sequence.</summary>
    public static void FlashAttentionGradQueryWgmma<TTile, TElement>(BackwardWgmma.Parameters p)
        where TTile : struct, IBackwardWgmmaTile
        where TElement : struct, ITensorCoreElement
    {
        BackwardWgmma.Begin<TTile, TElement>(TTile.BlockN);
        CudaAsm.Emit(Layout);
        int warpGroup = Registers.Uniform(Group.IdxX >> 7);
        // The last query blocks see the most keys: they start first.
        int row0 = Registers.Pin((p.Blocks - 1 - Grid.IdxX % p.Blocks) * BackwardWgmma.Rows);
        int head = Registers.Pin(Grid.IdxX / p.Blocks % p.NumHeads), batch = Registers.Pin(Grid.IdxX / p.Blocks / p.NumHeads);
        int blocks = Registers.Pin((VisibleKeys(ref p, row0 + BackwardWgmma.Rows - 1) + TTile.BlockN - 1) / TTile.BlockN);

        if (Group.IdxX == 0)
            CudaAsm.Emit(CreateBarriers);
        Group.Barrier();
        if (warpGroup == 0)
        {
            CudaAsm.Emit(BackwardWgmma.BeginCopies);
            if (blocks > 0)
                Copy<TTile>(ref p, row0, head, batch, blocks);
        }
        else
        {
            int lane = Group.IdxX & 31, column = MatrixLanes.ResultColumn(lane);
            int row = row0 + 64 * (warpGroup - 1) + (Group.IdxX >> 5 & 3) * 16 + MatrixLanes.ResultRow(lane);
            CudaAsm.Emit(BackwardWgmma.BeginProducts, p.SoftmaxScale * 1.44269504f, (warpGroup - 1) * 64 * 128);
            if (blocks > 0)
            {
                long statistics = p.Statistics + 8L * ((long)batch * p.NumHeads + head) * p.StatisticStride + 4L * row;
                CudaAsm.Emit(Statistics, statistics, statistics + 4L * p.StatisticStride);
                int limit0 = Registers.Pin(VisibleKeys(ref p, row) - column), limit1 = Registers.Pin(VisibleKeys(ref p, row + 8) - column);
                Multiply<TTile>(limit0, limit1, blocks);
            }
            if (p.GradQuery.Address != 0)
            {
                long address = p.GradQuery.At(batch, row, head) + 2 * column;
                CudaAsm.Emit(
                    Store, address, address + 16 * p.GradQuery.TokenStride, row < p.QueryLength ? 1 : 0, row + 8 < p.QueryLength ? 1 : 0,
                    p.SoftmaxScale);
            }
        }
    }

    // Also for the rows past the last query of the last block.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int VisibleKeys(ref BackwardWgmma.Parameters p, int row) =>
        ScoreRange.Within(row + 1 + BackwardWgmma.Diagonal(ref p), p.KvLength);

    // Keys and values have a thread each: the next values do not wait until keys are free, which is later.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy<TTile>(ref BackwardWgmma.Parameters p, int row0, int head, int batch, int blocks)
        where TTile : struct, IBackwardWgmmaTile
    {
        int kvHead = Registers.Pin(head / p.GroupSize), key0 = (blocks - 1) * TTile.BlockN;
        if (Group.IdxX == 0)
        {
            CudaAsm.Emit(ExpectOwn, 0);
            CudaAsm.Emit(CopyQueries, 0, head, row0, batch);
            CudaAsm.Emit(CopyGradients, 0, head, row0, batch);
            // The last one lies before all keys, and is zero: scores of a block to come are asked for to the end.
            for (int i = 0; i <= blocks; i++, key0 -= TTile.BlockN)
            {
                CudaAsm.Emit(AwaitEmptyKeys, i & 3, (i >> 2 & 1) ^ 1);
                CudaAsm.Emit(ExpectKeys, i & 3);
                CudaAsm.Emit(CopyKeys, i & 3, kvHead, key0, batch);
            }
        }
        else if (Group.IdxX == 32)
        {
            for (int i = 0; i < blocks; i++, key0 -= TTile.BlockN)
            {
                CudaAsm.Emit(AwaitEmptyValues, i & 3, (i >> 2 & 1) ^ 1);
                CudaAsm.Emit(ExpectValues, i & 3);
                CudaAsm.Emit(CopyValues, i & 3, kvHead, key0, batch);
            }
        }
    }

    // All blocks. The thread's rows see as many keys as the limits say, less the thread's first column. No product is under way from one
    // turn of the loop to the next: the assembler would wait for each of them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply<TTile>(int limit0, int limit1, int blocks) where TTile : struct, IBackwardWgmmaTile
    {
        int last = (blocks - 1) * TTile.BlockN, i = 1;
        limit0 = Registers.Pin(limit0 - last);
        limit1 = Registers.Pin(limit1 - last);
        CudaAsm.Emit(AwaitOwn, 0, 0);
        CudaAsm.Emit(AwaitKeys, 0, 0);
        CudaAsm.Emit(MultiplyEvenKeys, 0);
        CudaAsm.Emit(SlabTiles.WaitForAll);
        StartEven(0);
        FinishEven(0, limit0, limit1);
        for (; i < blocks; i += 2)
        {
            CudaAsm.Emit(AddKeys, i - 1 & 3);
            StartOdd(i);
            FinishOdd(i, limit0 + i * TTile.BlockN, limit1 + i * TTile.BlockN);
            CudaAsm.Emit(ReleaseKeys, i - 1 & 3);
            int next = i + 1;
            if (next < blocks)
            {
                CudaAsm.Emit(AddKeys, i & 3);
                StartEven(next);
                FinishEven(next, limit0 + next * TTile.BlockN, limit1 + next * TTile.BlockN);
                CudaAsm.Emit(ReleaseKeys, i & 3);
            }
        }
        CudaAsm.Emit(AddKeys, blocks - 1 & 3);
        CudaAsm.Emit(SlabTiles.WaitForAll);
    }

    // Of the i-th block, whose scores are there, asks for the product with values; then for the next block's scores.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StartEven(int i)
    {
        StartValues(i);
        CudaAsm.Emit(MultiplyOddKeys, i + 1 & 3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StartOdd(int i)
    {
        StartValues(i);
        CudaAsm.Emit(MultiplyEvenKeys, i + 1 & 3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StartValues(int i)
    {
        CudaAsm.Emit(AwaitValues, i & 3, i >> 2 & 1);
        CudaAsm.Emit(MultiplyValues, i & 3);
        CudaAsm.Emit(AwaitKeys, i + 1 & 3, i + 1 >> 2 & 1);
    }

    // Makes weights and gradients of scores, the latter while the next scores are multiplied.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishEven(int i, int limit0, int limit1)
    {
        CudaAsm.Emit(WeighEven, limit0, limit1);
        CudaAsm.Emit(SlabTiles.WaitForEarlier);
        CudaAsm.Emit(ReleaseValues, i & 3);
        CudaAsm.Emit(DifferentiateEven);
        CudaAsm.Emit(SlabTiles.WaitForAll);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishOdd(int i, int limit0, int limit1)
    {
        CudaAsm.Emit(WeighOdd, limit0, limit1);
        CudaAsm.Emit(SlabTiles.WaitForEarlier);
        CudaAsm.Emit(ReleaseValues, i & 3);
        CudaAsm.Emit(DifferentiateOdd);
        CudaAsm.Emit(SlabTiles.WaitForAll);
    }

    private const string Layout = """
        $let STAGES 4
        $let STAGE STEP
        $let KEYS 2*OWN
        $let VALUES KEYS+STAGES*STAGE
        $let FULL_OWN VALUES+STAGES*STAGE
        $let FULL_K FULL_OWN+8
        $let EMPTY_K FULL_K+8*STAGES
        $let FULL_V EMPTY_K+8*STAGES
        $let EMPTY_V FULL_V+8*STAGES
        """;

    // Every multiplying warp says when it has read a block.
    private const string CreateBarriers = """
        mbarrier.init.shared::cta.b64 [shared+$(FULL_OWN)], 1;
        $for i 0 STAGES
        mbarrier.init.shared::cta.b64 [shared+$(FULL_K+8*i)], 1;
        mbarrier.init.shared::cta.b64 [shared+$(FULL_V+8*i)], 1;
        mbarrier.init.shared::cta.b64 [shared+$(EMPTY_K+8*i)], 8;
        mbarrier.init.shared::cta.b64 [shared+$(EMPTY_V+8*i)], 8;
        $end
        fence.mbarrier_init.release.cluster;
        """;

    private const string ExpectOwn = "$let BARRIER FULL_OWN\n$let BYTES 2*OWN\n" + SlabTiles.Expect;
    private const string CopyQueries = "$let ROWS LEFT_ROWS\n$let TILE 0\n$let MAP 0\n" + SlabTiles.Copy;
    private const string CopyGradients = "$let TILE OWN\n$let MAP 128\n" + SlabTiles.Copy;
    private const string AwaitEmptyKeys = "$let BARRIER EMPTY_K\n" + SlabTiles.Await;
    private const string AwaitEmptyValues = "$let BARRIER EMPTY_V\n" + SlabTiles.Await;
    private const string ExpectKeys = "$let BARRIER FULL_K\n$let BYTES STEP\n" + SlabTiles.Expect;
    private const string ExpectValues = "$let BARRIER FULL_V\n$let BYTES STEP\n" + SlabTiles.Expect;
    private const string CopyKeys = "$let ROWS WIDTH\n$let TILE KEYS\n$let MAP 256\n" + SlabTiles.Copy;
    private const string CopyValues = "$let ROWS WIDTH\n$let TILE VALUES\n$let MAP 384\n" + SlabTiles.Copy;
    private const string AwaitOwn = "$let BARRIER FULL_OWN\n" + SlabTiles.Await;
    private const string AwaitKeys = "$let BARRIER FULL_K\n" + SlabTiles.Await;
    private const string AwaitValues = "$let BARRIER FULL_V\n" + SlabTiles.Await;
    private const string ReleaseKeys = "$let BARRIER EMPTY_K\n" + SlabTiles.Release;
    private const string ReleaseValues = "$let BARRIER EMPTY_V\n" + SlabTiles.Release;
    private const string MultiplyEvenKeys = "$let SUMS s\n$let LEFT first\n$let TILE KEYS\n" + SlabTiles.MultiplyRows;
    private const string MultiplyOddKeys = "$let SUMS z\n$let LEFT first\n$let TILE KEYS\n" + SlabTiles.MultiplyRows;
    private const string MultiplyValues = "$let SUMS x\n$let LEFT second\n$let TILE VALUES\n" + SlabTiles.MultiplyRows;
    private const string AddKeys = "$let SUMS o\n$let WEIGHTS w\n$let TILE KEYS\n" + SlabTiles.AddProduct;
    private const string WeighEven = "$let S s\n" + Weigh;
    private const string WeighOdd = "$let S z\n" + Weigh;
    private const string DifferentiateEven = "$let S s\n" + Differentiate;
    private const string DifferentiateOdd = "$let S z\n" + Differentiate;
    private const string Store = "$let SUMS o\n" + BackwardWgmma.StoreRows;

    // %0, %1 addresses of the upper row's −lse · log2 e and δ; the lower row is 8 behind. Thread t of a warp group holds rows
    // 16 · (t / 32) + t % 32 / 4 and 8 below it, of columns 8 · j + 2 · (t % 4) and the next one: s(4j), s(4j + 1) of the upper row,
    // s(4j + 2), s(4j + 3) of the lower; z like s for every other block.
    private const string Statistics = """
        .reg .f32 z<$(WIDTH/2)>, shift<2>, delta<2>;
        $for r 0 2
        ld.global.f32 shift$(r), [%0+$(32*r)];
        ld.global.f32 delta$(r), [%1+$(32*r)];
        $end
        """;

    // %0 and %1: keys that the upper and the lower row see, less the first key of the block and of the thread.
    private const string Weigh = """
        {
        .reg .pred sees;
        $for j 0 WIDTH/8
        $for r 0 2
        $for e 0 2
        setp.gt.s32 sees, $pick(r,%1,%0), $(8*j+e);
        fma.rn.ftz.f32 $(S)$(4*j+2*r+e), $(S)$(4*j+2*r+e), scale, shift$(r);
        selp.f32 $(S)$(4*j+2*r+e), $(S)$(4*j+2*r+e), 0fFF800000, sees;
        ex2.approx.ftz.f32 $(S)$(4*j+2*r+e), $(S)$(4*j+2*r+e);
        $end
        $end
        $end
        }
        """;

    private const string Differentiate = """
        $for j 0 WIDTH/8
        $for r 0 2
        $for e 0 2
        sub.ftz.f32 x$(4*j+2*r+e), x$(4*j+2*r+e), delta$(r);
        mul.ftz.f32 x$(4*j+2*r+e), x$(4*j+2*r+e), $(S)$(4*j+2*r+e);
        $end
        cvt.rn.$(T)x2.f32 w$(2*j+r), x$(4*j+2*r+1), x$(4*j+2*r);
        $end
        $end
        """;
}
