using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// <see cref="FlashGradKeyValue"/> on the tensor cores of Ampere and later (Dao 2023, arXiv:2307.08691, algorithm 2), both
/// gradients at once: 16-bit operands, float32 sums. One group owns 64 · RowTiles keys of one key/value head and loops over the
/// blocks of BlockM query rows that see some of them, of every query head of that head. Four pairs of warps own a quarter each:
/// <code>
/// first warp:   xᵀ = key · queryᵀ             pᵀ = exp(scale · x − lse)      gradValue += pᵀ · gradOutput
/// second warp:  yᵀ = value · gradOutputᵀ      dᵀ = pᵀ · (y − δ)              gradKey += dᵀ · query
/// </code>
/// Transposed, what a warp computes is a left operand in its registers already: only pᵀ goes through shared memory, from the
/// first warp to the second, in the order of registers and in 16 bits. No two groups add to the same number.
/// Shared memory: keys and values; two stages of query, gradOutput, lse and δ; weights: with ‘own’ the keys of the group
/// (2 · own + 4 · BlockM) · (2 · headDim + 16) + 16 · BlockM + 2 · own · BlockM bytes. 8 · rows · keys · headDim FLOPs.
/// Rows past the end count as zero; hidden keys weigh 0, so infinities and NaNs of a row reach all keys of a block that it meets.
/// </summary>
internal static class FlashGradKeyValueMma
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 256;

    /// <summary>Shared memory of a group.</summary>
    public static int SharedBytes<TTile>() where TTile : struct, IBackwardMmaTile =>
        (2 * BackwardMma.Rows<TTile>() + 4 * TTile.BlockM) * BackwardMma.Pitch<TTile>()
            + (16 + 2 * BackwardMma.Rows<TTile>()) * TTile.BlockM;

    /// <summary>The kernel; one group for each block of keys of each key/value head of each sequence.</summary>
    public static void FlashAttentionGradKeyValueMma<TTile, TElement, TSequences>(BackwardMma.Parameters p)
        where TTile : struct, IBackwardMmaTile
        where TElement : struct, ITensorCoreElement
        where TSequences : struct, ISequences
    {
        BackwardMma.Constants<TTile, TElement>();
        int ownRows = BackwardMma.Rows<TTile>(), warpRows = BackwardMma.WarpRows<TTile>();
        // The first key blocks are seen by the most queries: they start first.
        var own = SequenceBlock.OfKeys<TSequences>(ref p.Sequences, Grid.IdxX % p.Blocks, ownRows);
        int key0 = Registers.Pin(own.First), numKvHeads = p.NumHeads / p.GroupSize;
        if (TSequences.AreRagged != 0 && key0 >= own.KvLength)
            return;
        int kvHead = Registers.Pin(Grid.IdxX / p.Blocks % numKvHeads), batch = Registers.Pin(Grid.IdxX / p.Blocks / numKvHeads);
        int keyEnd = key0 + ownRows < own.KvLength ? key0 + ownRows : own.KvLength;
        int firstBlock = Registers.Pin(
            ScoreRange.Within((long)key0 - own.Diagonal - p.Sequences.WindowRight, own.QueryLength) / TTile.BlockM);
        int endBlock = Registers.Pin(
            (ScoreRange.Within((long)keyEnd - own.Diagonal + p.Sequences.WindowLeft, own.QueryLength) + TTile.BlockM - 1) / TTile.BlockM);

        int step = Threads / TTile.ThreadsOfRow, pitch = BackwardMma.Pitch<TTile>();
        int piece = Group.IdxX & TTile.ThreadsOfRow - 1, copyRow = Group.IdxX / TTile.ThreadsOfRow;
        int lane = Group.IdxX & 31, warp = Registers.Uniform(Group.IdxX >> 5);
        int pair = warp & 3, isGradient = warp >> 2, warpRow = warpRows * pair;
        int row = MatrixLanes.Row(lane) * pitch + 2 * MatrixLanes.Column(lane), column = MatrixLanes.ResultColumn(lane);
        CudaAsm.Emit("$let STEP %0", step);
        CudaAsm.Emit(
            LaneAddresses, row + warpRow * pitch + isGradient * ownRows * pitch,
            MatrixLanes.TransposedRow(lane) * pitch + 2 * MatrixLanes.TransposedColumn(lane) + isGradient * TTile.BlockM * pitch,
            row + (1 - isGradient) * TTile.BlockM * pitch, 4 * (column + isGradient * TTile.BlockM),
            copyRow * pitch + piece * 16, lane * 16 + pair * (2 * warpRows) * TTile.BlockM, pair + 1, isGradient,
            p.SoftmaxScale * 1.44269504f, piece);

        if (firstBlock < endBlock)
        {
            CopyOwn(ref p, ref own, step, key0 + copyRow, piece, kvHead, batch);
            int key = key0 + warpRow + MatrixLanes.ResultRow(lane);
            CudaAsm.Emit(BackwardMma.Limits, ScoreRange.Bounded((long)key - own.Diagonal - p.Sequences.WindowRight - column),
                ScoreRange.Bounded((long)key - own.Diagonal + p.Sequences.WindowLeft + 1 - column));
            int fullFrom = Registers.Pin(ScoreRange.Bounded((long)key0 + ownRows - 1 - own.Diagonal - p.Sequences.WindowRight));
            int fullTo = Registers.Pin(ScoreRange.Bounded((long)key0 - own.Diagonal + p.Sequences.WindowLeft + 1));
            long query = Registers.Pin(p.Query.At(batch, own.QueryStart + copyRow, 0) + 16 * piece);
            long gradOutput = Registers.Pin(p.GradOutput.At(batch, own.QueryStart + copyRow, 0) + 16 * piece);
            bool copiesDelta = Group.IdxX >= TTile.BlockM;
            int statisticRow = copiesDelta ? Group.IdxX - TTile.BlockM : Group.IdxX;
            long statisticHeadStride = Registers.Pin(copiesDelta ? p.Sequences.QueryLength : p.LseHeadStride);
            long statistic = Registers.Pin(copiesDelta
                ? p.Delta + 4 * ((long)batch * p.NumHeads * p.Sequences.QueryLength + own.QueryStart + statisticRow)
                : p.Lse + 4 * (batch * p.LseBatchStride + own.QueryStart + statisticRow));
            int queryLength = TSequences.AreRagged != 0 ? Registers.Pin(own.QueryLength) : own.QueryLength;
            long queryStep = Registers.Pin(2 * step * p.Query.TokenStride), gradStep = Registers.Pin(2 * step * p.GradOutput.TokenStride);
            int head = Registers.Pin(kvHead * p.GroupSize), endHead = Registers.Pin(head + p.GroupSize), block = firstBlock;
            for (int i = -1; head < endHead; i++)
            {
                // What step i + 1 multiplies is copied while step i computes; step −1 has nothing to compute.
                int row0 = block * TTile.BlockM;
                if (i >= 0)
                {
                    block++;
                    if (block == endBlock)
                    {
                        block = firstBlock;
                        head++;
                    }
                    CudaAsm.Emit(RowCopies.Arrived);
                }
                CudaAsm.Emit(NextStage);
                if (head < endHead)
                {
                    int next = block * TTile.BlockM;
                    CudaAsm.Emit(CopyQueries, query + 2 * (next * p.Query.TokenStride + head * p.Query.HeadStride), queryStep,
                        queryLength - next - copyRow);
                    CudaAsm.Emit(CopyGradients, gradOutput + 2 * (next * p.GradOutput.TokenStride + head * p.GradOutput.HeadStride), gradStep,
                        queryLength - next - copyRow);
                    CudaAsm.Emit(CopyStatistics, statistic + 4 * (head * statisticHeadStride + next), queryLength - next - statisticRow,
                        Group.IdxX);
                }
                if (i < 0)
                    continue;
                CudaAsm.Emit(Multiply);
                if (isGradient == 0 && (row0 < fullFrom || row0 + TTile.BlockM > fullTo))
                    CudaAsm.Emit(Mask, row0);
                CudaAsm.Emit(Transform);
                CudaAsm.Emit(Add);
            }
        }
        Store(ref p, ref own, key0 + warpRow + MatrixLanes.ResultRow(lane), column, kvHead, batch, isGradient);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyOwn(
        ref BackwardMma.Parameters p, ref SequenceBlock own, int step, int key, int piece, int kvHead, int batch)
    {
        int token = own.KeyStart + key, keysLeft = own.KvLength - key;
        CudaAsm.Emit(CopyKeys, p.Key.At(batch, token, kvHead) + 16 * piece, 2 * step * p.Key.TokenStride, keysLeft);
        CudaAsm.Emit(CopyValues, p.Value.At(batch, token, kvHead) + 16 * piece, 2 * step * p.Value.TokenStride, keysLeft);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(
        ref BackwardMma.Parameters p, ref SequenceBlock own, int key, int column, int kvHead, int batch, int isGradient)
    {
        int token = own.KeyStart + key, keysLeft = own.KvLength - key;
        if (isGradient != 0)
        {
            if (p.GradKey.Address != 0)
            {
                CudaAsm.Emit(BackwardMma.StoreRows, p.GradKey.At(batch, token, kvHead) + 2 * column, 16 * p.GradKey.TokenStride, keysLeft,
                    p.SoftmaxScale);
            }
        }
        else if (p.GradValue.Address != 0)
        {
            CudaAsm.Emit(
                BackwardMma.StoreRows, p.GradValue.At(batch, token, kvHead) + 2 * column, 16 * p.GradValue.TokenStride, keysLeft, 1f);
        }
    }

    // The lane's place, for its warp's role, %0 in the left operand, %1 in the transposed right one, %2 in the right one, %3 in
    // lse or δ; %4 the thread's place in a copy, %5 in the pair's weights; %6 the pair's barrier, %7 the role, %8 scale,
    // %9 the thread's piece of a row.
    private const string LaneAddresses = """
        $let WIDTH M
        $let ROWS 2*TILES
        $let STAGES 2*OWN*PITCH
        $let STATISTICS 2*M*PITCH
        $let STAGE STATISTICS+8*M
        $let WEIGHTS STAGES+2*STAGE
        .reg .f32 x<$(TILES*M/2)>;
        .reg .f32 o<$(TILES*D/2)>;
        .reg .b32 w<$(TILES*M/4)>;
        .reg .b32 shared, leftLane, rightLane, sumLane, statisticLane, copyLane, statisticCopy, weightLane, pairBarrier;
        .reg .b32 right, sum, statistics, stage, begin, end, last;
        .reg .f32 scale;
        .reg .pred isGradient, copies;
        setp.lt.s32 copies, %9, $(D/8);
        mov.u32 shared, dynamicShared;
        add.u32 leftLane, shared, %0;
        add.u32 rightLane, shared, %1;
        add.u32 rightLane, rightLane, $(STAGES);
        add.u32 sumLane, shared, %2;
        add.u32 sumLane, sumLane, $(STAGES);
        add.u32 statisticLane, shared, %3;
        add.u32 statisticLane, statisticLane, $(STAGES+STATISTICS);
        add.u32 copyLane, shared, %4;
        add.u32 weightLane, shared, %5;
        add.u32 weightLane, weightLane, $(WEIGHTS);
        mov.b32 pairBarrier, %6;
        setp.ne.s32 isGradient, %7, 0;
        mov.f32 scale, %8;
        mov.b32 stage, $(STAGE);
        mov.b32 last, 0x7FFFFFFF;
        $for i 0 TILES*D/2
        mov.f32 o$(i), 0f00000000;
        $end
        """;

    private const string CopyKeys = "$let COUNT OWN\n$let TO 0\n" + RowCopies.Copy;
    private const string CopyValues = "$let COUNT OWN\n$let TO OWN*PITCH\n" + RowCopies.Copy + "\nadd.u32 copyLane, copyLane, $(STAGES);";

    // The stage that was copied is multiplied, the other one is copied.
    private const string NextStage = """
        add.u32 right, rightLane, stage;
        add.u32 sum, sumLane, stage;
        add.u32 statistics, statisticLane, stage;
        sub.u32 stage, $(STAGE), stage;
        """;

    private const string CopyQueries = "add.u32 copyLane, copyLane, stage;\n$let COUNT M\n$let TO 0\n" + RowCopies.Copy;
    private const string CopyGradients = "$let COUNT M\n$let TO M*PITCH\n" + RowCopies.Copy + "\nsub.u32 copyLane, copyLane, stage;";

    // %0 address of the thread's lse or δ, %1 rows from there to the end, %2 the thread. Rows past the end have 0: their products are.
    private const string CopyStatistics = """
        {
        .reg .b32 bytes, to;
        .reg .pred copies, exists;
        setp.lt.s32 copies, %2, $(2*M);
        setp.gt.s32 exists, %1, 0;
        selp.b32 bytes, 4, 0, exists;
        shl.b32 to, %2, 2;
        add.u32 to, to, shared;
        add.u32 to, to, stage;
        @copies cp.async.ca.shared.global [to+$(STAGES+STATISTICS)], [%0], 4, bytes;
        }
        """;

    private const string Multiply = "$let FROM 0\n$let LEFT leftLane\n$let LEFT_AT 0\n$let RIGHT right\n$let RIGHT_AT 0\n" + BackwardMma.MultiplyRows;
    private const string Mask = "$let X x\n" + ScoreRange.Mask;
    private const string Add = "$let RIGHT sum\n$let RIGHT_AT 0\n" + BackwardMma.AddProduct;

    // The first warp makes weights of its scores and hands them to the second, which makes gradients of scores of its products.
    // −log2 e = 0xBFB8AA3B. A row that sees nothing has lse −∞ and weighs nothing.
    private const string Transform = """
        {
        .reg .f32 c<2>;
        .reg .b32 p<2>;
        .reg .pred none;
        .reg .b16 half<2>;
        @isGradient bra TakeWeights;
        $for j 0 M/8
        ld.shared.v2.f32 {c0, c1}, [statistics+$(32*j)];
        $for e 0 2
        setp.eq.f32 none, c$(e), 0fFF800000;
        mul.ftz.f32 c$(e), c$(e), 0fBFB8AA3B;
        selp.f32 c$(e), 0fFF800000, c$(e), none;
        $end
        $for r 0 ROWS
        $let AT 4*((r/2)*(M/8)+j)+2*(r&1)
        $for e 0 2
        fma.rn.ftz.f32 x$(AT+e), x$(AT+e), scale, c$(e);
        ex2.approx.ftz.f32 x$(AT+e), x$(AT+e);
        $end
        cvt.rn.$(T)x2.f32 w$(AT/2), x$(AT+1), x$(AT);
        $end
        $end
        $for i 0 TILES*M/16
        st.shared.v4.b32 [weightLane+$(512*i)], {$list(w,4*i,4)};
        $end
        bar.arrive pairBarrier, 64;
        bra Transformed;
        TakeWeights:
        bar.sync pairBarrier, 64;
        $for i 0 TILES*M/16
        ld.shared.v4.b32 {$list(w,4*i,4)}, [weightLane+$(512*i)];
        $end
        $for j 0 M/8
        ld.shared.v2.f32 {c0, c1}, [statistics+$(32*j)];
        $for r 0 ROWS
        $let AT 4*((r/2)*(M/8)+j)+2*(r&1)
        $if IS_BF16
        shl.b32 p0, w$(AT/2), 16;
        and.b32 p1, w$(AT/2), 0xFFFF0000;
        $else
        mov.b32 {half0, half1}, w$(AT/2);
        cvt.f32.f16 p0, half0;
        cvt.f32.f16 p1, half1;
        $end
        $for e 0 2
        sub.ftz.f32 x$(AT+e), x$(AT+e), c$(e);
        mul.ftz.f32 x$(AT+e), x$(AT+e), p$(e);
        $end
        cvt.rn.$(T)x2.f32 w$(AT/2), x$(AT+1), x$(AT);
        $end
        $end
        Transformed:
        }
        """;
}
