using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// <see cref="FlashForward"/> on the tensor cores of Ampere and later (Dao 2023, arXiv:2307.08691): 16-bit operands, float32 sums.
/// One group computes 16 · RowTiles · Warps query rows of one head and loops over blocks of BlockN keys, from the last visible
/// one to the first. A block's values are copied while its keys are multiplied, the next block's keys while its values are.
/// Scores and sums stay in registers; the weights become 16-bit operands there. Logarithms inside are base 2, the lse that is
/// stored is natural. Shared memory: rows of headDim elements, 16 bytes apart so that eight of them lie in different banks:
/// (16 · RowTiles · Warps + 2 · BlockN) · (2 · headDim + 16) bytes. 4 · rows · keys · headDim FLOPs.
/// Rows past the end count as zero; hidden keys weigh 0, so infinities and NaNs in values of a block reach all its rows.
/// </summary>
internal static class FlashForwardMma
{
    /// <summary>The arguments. Strides are in elements.</summary>
    internal struct Parameters
    {
        public TokenAddress Query, Key, Value; // [batchSize, tokens, heads, headDim]
        public TokenAddress Output;       // [batchSize, queryLength, numHeads, headDim]
        public long Lse;                  // [batchSize, numHeads, queryLength], or 0
        public long LseBatchStride, LseHeadStride;
        public SequenceParameters Sequences;
        public int NumHeads, GroupSize, QueryBlocks;
        public float SoftmaxScaleLog2;    // softmaxScale · log2 e, positive
    }

    /// <summary>Query rows of a group.</summary>
    public static int BlockM<TTile>() where TTile : struct, IMmaTile => 16 * TTile.RowTiles * TTile.Warps;

    /// <summary>Shared memory of a group.</summary>
    public static int SharedBytes<TTile>() where TTile : struct, IMmaTile => (BlockM<TTile>() + 2 * TTile.BlockN) * (2 * TTile.HeadDim + 16);

    /// <summary>The kernel; one group for each query block of each head of each sequence.</summary>
    public static void FlashAttentionForwardMma<TTile, TElement, TSequences>(Parameters p)
        where TTile : struct, IMmaTile
        where TElement : struct, ITensorCoreElement
        where TSequences : struct, ISequences
    {
        Constants<TTile, TElement>();
        int blockM = BlockM<TTile>();
        // The last query blocks see the most keys: they start first.
        var own = SequenceBlock.OfQueries<TSequences>(ref p.Sequences, p.QueryBlocks - 1 - Grid.IdxX % p.QueryBlocks, blockM);
        int row0 = Registers.Pin(own.First);
        if (TSequences.AreRagged != 0 && row0 >= own.QueryLength)
            return;
        int head = Registers.Pin(Grid.IdxX / p.QueryBlocks % p.NumHeads), batch = Registers.Pin(Grid.IdxX / p.QueryBlocks / p.NumHeads);
        int kvHead = Registers.Pin(head / p.GroupSize);
        int firstBlock = Registers.Pin(own.FirstKey(ref p.Sequences, row0) / TTile.BlockN);
        int lastBlock = Registers.Pin((own.EndKey(ref p.Sequences, row0 + blockM - 1) + TTile.BlockN - 1) / TTile.BlockN - 1);

        int piece = Group.IdxX & TTile.ThreadsOfRow - 1, copyRow = Group.IdxX / TTile.ThreadsOfRow, step = 32 * TTile.Warps / TTile.ThreadsOfRow;
        int lane = Group.IdxX & 31, warp = Registers.Uniform(Group.IdxX >> 5), pitch = 2 * TTile.HeadDim + 16;
        int warpRow = 16 * TTile.RowTiles * warp;
        CudaAsm.Emit("$let STEP %0", step);
        CudaAsm.Emit(
            LaneAddresses, MatrixLanes.Row(lane) * pitch + 2 * MatrixLanes.Column(lane),
            MatrixLanes.TransposedRow(lane) * pitch + 2 * MatrixLanes.TransposedColumn(lane), warpRow * pitch, copyRow * pitch + piece * 16,
            piece, p.SoftmaxScaleLog2);

        long query = p.Query.At(batch, own.QueryStart + row0 + copyRow, head) + 16 * piece;
        long key = Registers.Pin(p.Key.At(batch, own.KeyStart + copyRow, kvHead) + 16 * piece);
        long value = Registers.Pin(p.Value.At(batch, own.KeyStart + copyRow, kvHead) + 16 * piece);
        int row = row0 + warpRow + MatrixLanes.ResultRow(lane), column = MatrixLanes.ResultColumn(lane);
        int keysLeft = Registers.Pin(own.KvLength - copyRow);

        CudaAsm.Emit(CopyQueries, query, 2 * step * p.Query.TokenStride, own.QueryLength - row0 - copyRow);
        if (firstBlock <= lastBlock)
        {
            CudaAsm.Emit(Limits, ScoreRange.Bounded(row + (long)own.Diagonal - p.Sequences.WindowLeft - column),
                ScoreRange.Bounded(row + (long)own.Diagonal + p.Sequences.WindowRight + 1 - column), own.KvLength - column);
            int fullFrom = Registers.Pin(own.FirstKey(ref p.Sequences, row0 + blockM - 1));
            int fullTo = Registers.Pin(own.EndKey(ref p.Sequences, row0));
            long keyStep = Registers.Pin(2 * step * p.Key.TokenStride), valueStep = Registers.Pin(2 * step * p.Value.TokenStride);
            int key0 = lastBlock * TTile.BlockN;
            CudaAsm.Emit(CopyKeys, key + 2 * key0 * p.Key.TokenStride, keyStep, keysLeft - key0);
            for (int block = lastBlock; block >= firstBlock; block--)
            {
                key0 = block * TTile.BlockN;
                CudaAsm.Emit(RowCopies.Arrived);
                CudaAsm.Emit(CopyValues, value + 2 * key0 * p.Value.TokenStride, valueStep, keysLeft - key0);
                CudaAsm.Emit(MultiplyKeys);
                CudaAsm.Emit(RowCopies.Arrived);
                if (block > firstBlock)
                    CudaAsm.Emit(CopyKeys, key + 2 * (key0 - TTile.BlockN) * p.Key.TokenStride, keyStep, keysLeft - key0 + TTile.BlockN);
                if (key0 < fullFrom || key0 + TTile.BlockN > fullTo)
                    CudaAsm.Emit(Mask, key0);
                CudaAsm.Emit(Softmax);
                CudaAsm.Emit(MultiplyValues);
            }
        }
        Store<TTile, TSequences>(ref p);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Constants<TTile, TElement>() where TTile : struct, IMmaTile where TElement : struct, ITensorCoreElement
    {
        CudaAsm.Emit("$let D %0", TTile.HeadDim);
        CudaAsm.Emit("$let N %0", TTile.BlockN);
        CudaAsm.Emit("$let M %0", BlockM<TTile>());
        CudaAsm.Emit("$let TILES %0", TTile.RowTiles);
        CudaAsm.Emit("$let IS_BF16 %0", TElement.IsBFloat16);
    }

    // %0 lane's place in a left operand or in values, %1 in keys, %2 the warp's first row, %3 the thread's place in a copy,
    // %4 its piece of a row, %5 scale. Thread t of a warp holds, of rows 16 · tile + t / 4 and 8 below, columns 8 · j + 2 · (t % 4)
    // and the next: s(4 · (tile · N / 8 + j)) and the next of the upper row, then two of the lower. Copies are guarded where every
    // thread has a piece of a row too: without a guard the assembler runs out of registers.
    private const string LaneAddresses = """
        $let T $pick(IS_BF16,bf16,f16)
        $let PITCH 2*D+16
        $let KEYS M*PITCH
        $let VALUES KEYS+N*PITCH
        $let ROWS 2*TILES
        $let GUARDED 1
        .reg .f32 s<$(TILES*N/2)>;
        .reg .f32 o<$(TILES*D/2)>;
        .reg .b32 w<$(TILES*N/4)>;
        .reg .f32 max<$(ROWS)>, sum<$(ROWS)>, shift<$(ROWS)>, scale;
        .reg .b32 shared, leftLane, keyLane, valueLane, copyLane, begin, end, last;
        .reg .pred copies;
        mov.u32 shared, dynamicShared;
        add.u32 leftLane, shared, %0;
        add.u32 valueLane, leftLane, $(VALUES);
        add.u32 leftLane, leftLane, %2;
        add.u32 keyLane, shared, %1;
        add.u32 keyLane, keyLane, $(KEYS);
        add.u32 copyLane, shared, %3;
        setp.lt.s32 copies, %4, $(D/8);
        mov.f32 scale, %5;
        $for i 0 TILES*D/2
        mov.f32 o$(i), 0f00000000;
        $end
        $for r 0 ROWS
        mov.f32 max$(r), 0fFF800000;
        mov.f32 sum$(r), 0f00000000;
        mov.f32 shift$(r), 0f00000000;
        $end
        """;

    private const string CopyQueries = "$let COUNT M\n$let TO 0\n" + RowCopies.Copy;
    private const string CopyKeys = "$let COUNT N\n$let TO KEYS\n" + RowCopies.Copy + "\ncp.async.commit_group;";
    private const string CopyValues = "$let COUNT N\n$let TO VALUES\n" + RowCopies.Copy + "\ncp.async.commit_group;";

    // Where the thread's first row begins and ends to see, and where keys end, less the column it holds.
    private const string Limits = """
        mov.b32 begin, %0;
        mov.b32 end, %1;
        mov.b32 last, %2;
        """;

    private const string MultiplyKeys = """
        {
        .reg .b32 a<$(4*TILES)>, b<4>;
        $for i 0 TILES*N/2
        mov.f32 s$(i), 0f00000000;
        $end
        $for k 0 D/16
        $for t 0 TILES
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$list(a,4*t,4)}, [leftLane+$(t*16*PITCH+k*32)];
        $end
        $for n 0 N/16
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {b0, b1, b2, b3}, [keyLane+$(n*16*PITCH+k*32)];
        $for t 0 TILES
        $for h 0 2
        mma.sync.aligned.m16n8k16.row.col.f32.$(T).$(T).f32 {$list(s,4*(t*N/8+2*n+h),4)}, {$list(a,4*t,4)}, {$list(b,2*h,2)}, {$list(s,4*(t*N/8+2*n+h),4)};
        $end
        $end
        $end
        $end
        }
        """;

    private const string MultiplyValues = """
        {
        .reg .b32 b<4>;
        $for k 0 N/16
        $for n 0 D/16
        ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {b0, b1, b2, b3}, [valueLane+$(k*16*PITCH+n*32)];
        $for t 0 TILES
        $for h 0 2
        mma.sync.aligned.m16n8k16.row.col.f32.$(T).$(T).f32 {$list(o,4*(t*D/8+2*n+h),4)}, {$list(w,t*N/4+4*k,4)}, {$list(b,2*h,2)}, {$list(o,4*(t*D/8+2*n+h),4)};
        $end
        $end
        $end
        $end
        }
        """;

    private const string Mask = "$let X s\n$let WIDTH N\n" + ScoreRange.Mask;

    // Scores become weights; maxima and sums go on. A maximum is replaced only where some row of the warp exceeds the one in use
    // by 2^8: until then weights are up to 2^8 instead of 1, which changes no digit of the quotient, and nothing is rescaled.
    // A row that saw nothing yet has shift 0, so that no −∞ is subtracted from −∞.
    private const string Softmax = """
        {
        .reg .f32 most<$(ROWS)>, other, growth, rescale;
        .reg .pred none, grows, rescales;
        setp.ne.b32 rescales, 0, 0;
        $for r 0 ROWS
        $let AT 4*(r/2)*(N/8)+2*(r&1)
        max.f32 most$(r), s$(AT), s$(AT+1);
        $for j 1 N/8
        max.f32 other, s$(AT+4*j), s$(AT+4*j+1);
        max.f32 most$(r), most$(r), other;
        $end
        shfl.sync.bfly.b32 other, most$(r), 1, 31, -1;
        max.f32 most$(r), most$(r), other;
        shfl.sync.bfly.b32 other, most$(r), 2, 31, -1;
        max.f32 most$(r), most$(r), other;
        sub.f32 growth, most$(r), max$(r);
        mul.f32 growth, growth, scale;
        setp.gt.or.f32 rescales, growth, 0f41000000, rescales;
        $end
        vote.sync.any.pred rescales, rescales, -1;
        @!rescales bra KEPT;
        $for r 0 ROWS
        max.f32 most$(r), most$(r), max$(r);
        mul.ftz.f32 shift$(r), most$(r), scale;
        setp.eq.f32 none, most$(r), 0fFF800000;
        selp.f32 shift$(r), 0f00000000, shift$(r), none;
        neg.f32 shift$(r), shift$(r);
        fma.rn.ftz.f32 rescale, max$(r), scale, shift$(r);
        ex2.approx.ftz.f32 rescale, rescale;
        mov.f32 max$(r), most$(r);
        mul.ftz.f32 sum$(r), sum$(r), rescale;
        $let TO 4*(r/2)*(D/8)+2*(r&1)
        $for j 0 D/8
        mul.ftz.f32 o$(TO+4*j), o$(TO+4*j), rescale;
        mul.ftz.f32 o$(TO+4*j+1), o$(TO+4*j+1), rescale;
        $end
        $end
        KEPT:
        $for r 0 ROWS
        $let AT 4*(r/2)*(N/8)+2*(r&1)
        $for j 0 N/8
        $for e 0 2
        fma.rn.ftz.f32 s$(AT+4*j+e), s$(AT+4*j+e), scale, shift$(r);
        ex2.approx.ftz.f32 s$(AT+4*j+e), s$(AT+4*j+e);
        add.ftz.f32 sum$(r), sum$(r), s$(AT+4*j+e);
        $end
        cvt.rn.$(T)x2.f32 w$((AT+4*j)/2), s$(AT+4*j+1), s$(AT+4*j);
        $end
        $end
        }
        """;

    // %0 address of the first row, %1 bytes to the row 8 below, %2 rows from there to the end.
    private const string StoreRows = """
        {
        .reg .f32 other, inverse;
        .reg .pred seen, exists;
        .reg .b32 pair;
        .reg .b64 to;
        mov.b64 to, %0;
        $for r 0 ROWS
        shfl.sync.bfly.b32 other, sum$(r), 1, 31, -1;
        add.f32 sum$(r), sum$(r), other;
        shfl.sync.bfly.b32 other, sum$(r), 2, 31, -1;
        add.f32 sum$(r), sum$(r), other;
        setp.neu.f32 seen, sum$(r), 0f00000000;
        rcp.approx.ftz.f32 inverse, sum$(r);
        selp.f32 inverse, inverse, 0f00000000, seen;
        setp.gt.s32 exists, %2, $(8*r);
        $let AT 4*(r/2)*(D/8)+2*(r&1)
        $for j 0 D/8
        mul.f32 o$(AT+4*j), o$(AT+4*j), inverse;
        mul.f32 o$(AT+4*j+1), o$(AT+4*j+1), inverse;
        cvt.rn.$(T)x2.f32 pair, o$(AT+4*j+1), o$(AT+4*j);
        @exists st.global.b32 [to+$(16*j)], pair;
        $end
        add.s64 to, to, %1;
        $end
        }
        """;

    // %0 address of the first row's result, %1 results from there to the end, 0 to write none. ln 2 = 0x3F317218.
    private const string StoreLse = """
        {
        .reg .f32 lse;
        .reg .pred writes;
        $for r 0 ROWS
        setp.gt.s32 writes, %1, $(8*r);
        lg2.approx.f32 lse, sum$(r);
        fma.rn.f32 lse, max$(r), scale, lse;
        mul.f32 lse, lse, 0f3F317218;
        @writes st.global.f32 [%0+$(32*r)], lse;
        $end
        }
        """;

    // Everything is computed once more from the group's index, read again: no register is kept for it through the loop.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TTile, TSequences>(ref Parameters p) where TTile : struct, IMmaTile where TSequences : struct, ISequences
    {
        CudaAsm.Emit("mov.u32 %0, %%ctaid.x;", out int group);
        CudaAsm.Emit("mov.u32 %0, %%tid.x;", out int thread);
        var own = SequenceBlock.OfQueries<TSequences>(ref p.Sequences, p.QueryBlocks - 1 - group % p.QueryBlocks, BlockM<TTile>());
        int row = own.First + 16 * TTile.RowTiles * (thread >> 5) + MatrixLanes.ResultRow(thread & 31);
        int head = group / p.QueryBlocks % p.NumHeads, batch = group / p.QueryBlocks / p.NumHeads;
        int column = MatrixLanes.ResultColumn(thread & 31);
        CudaAsm.Emit(
            StoreRows, p.Output.At(batch, own.QueryStart + row, head) + 2 * column, 16 * p.Output.TokenStride, own.QueryLength - row);
        if (p.Lse == 0)
            return;
        long lse = p.Lse + 4 * (batch * p.LseBatchStride + head * p.LseHeadStride + own.QueryStart + row);
        CudaAsm.Emit(StoreLse, lse, column == 0 ? own.QueryLength - row : 0);
    }
}
