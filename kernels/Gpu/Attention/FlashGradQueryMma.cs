using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// <see cref="FlashGradQuery"/> on the tensor cores of Ampere and later (Dao 2023, arXiv:2307.08691, algorithm 2, by rows
/// instead of keys so that no two groups add to the same number): 16-bit operands, float32 sums.
/// <code>
/// x = query · keyᵀ     y = gradOutput · valueᵀ     d = exp(scale · x − lse) · (y − δ)     gradQuery += d · key
/// </code>
/// One group owns 64 · RowTiles query rows of one head, a quarter to a warp, and loops over blocks of BlockN keys, the next of
/// which is copied meanwhile. All of x, y, d and the sums stays in registers. Shared memory: query and gradOutput, two stages of
/// keys and values, lse and δ: with ‘own’ the rows of the group (2 · own + 4 · BlockN) · (2 · headDim + 16) + 32 · own bytes.
/// 6 · rows · keys · headDim FLOPs.
/// Hidden keys weigh 0, so infinities and NaNs in keys and values of a block reach all its rows.
/// </summary>
internal static class FlashGradQueryMma
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 128;

    /// <summary>Groups that share a multiprocessor: bounds a thread's registers.</summary>
    public const int GroupsPerMultiprocessor = 2;

    /// <summary>Shared memory of a group.</summary>
    public static int SharedBytes<TTile>() where TTile : struct, IBackwardMmaTile =>
        (2 * BackwardMma.Rows<TTile>() + 4 * TTile.BlockN) * BackwardMma.Pitch<TTile>() + 32 * BackwardMma.Rows<TTile>();

    /// <summary>The kernel; one group for each block of query rows of each head of each sequence.</summary>
    public static void FlashAttentionGradQueryMma<TTile, TElement, TSequences>(BackwardMma.Parameters p)
        where TTile : struct, IBackwardMmaTile
        where TElement : struct, ITensorCoreElement
        where TSequences : struct, ISequences
    {
        BackwardMma.Constants<TTile, TElement>();
        int ownRows = BackwardMma.Rows<TTile>();
        // The last query blocks see the most keys: they start first.
        var own = SequenceBlock.OfQueries<TSequences>(ref p.Sequences, p.Blocks - 1 - Grid.IdxX % p.Blocks, ownRows);
        int row0 = Registers.Pin(own.First);
        if (TSequences.AreRagged != 0 && row0 >= own.QueryLength)
            return;
        int head = Registers.Pin(Grid.IdxX / p.Blocks % p.NumHeads), batch = Registers.Pin(Grid.IdxX / p.Blocks / p.NumHeads);
        int kvHead = Registers.Pin(head / p.GroupSize);
        int firstBlock = Registers.Pin(own.FirstKey(ref p.Sequences, row0) / TTile.BlockN);
        int endBlock = Registers.Pin((own.EndKey(ref p.Sequences, row0 + ownRows - 1) + TTile.BlockN - 1) / TTile.BlockN);

        int step = Threads / TTile.ThreadsOfRow, pitch = BackwardMma.Pitch<TTile>();
        int piece = Group.IdxX & TTile.ThreadsOfRow - 1, copyRow = Group.IdxX / TTile.ThreadsOfRow;
        int lane = Group.IdxX & 31, warpRow = BackwardMma.WarpRows<TTile>() * Registers.Uniform(Group.IdxX >> 5);
        int place = MatrixLanes.Row(lane) * pitch + 2 * MatrixLanes.Column(lane);
        CudaAsm.Emit("$let STEP %0", step);
        CudaAsm.Emit(
            LaneAddresses, place + warpRow * pitch, MatrixLanes.TransposedRow(lane) * pitch + 2 * MatrixLanes.TransposedColumn(lane),
            place, copyRow * pitch + piece * 16, 8 * TTile.RowTiles * Group.IdxX, p.SoftmaxScale * 1.44269504f, piece);
        int row = row0 + warpRow + MatrixLanes.ResultRow(lane), column = MatrixLanes.ResultColumn(lane);
        if (firstBlock < endBlock)
        {
            CopyOwn(ref p, ref own, step, row0 + copyRow, piece, head, batch);
            LoadStatistics(ref p, ref own, row, head, batch);
            CudaAsm.Emit(LimitsOfKeys, ScoreRange.Bounded(row + (long)own.Diagonal - p.Sequences.WindowLeft - column),
                ScoreRange.Bounded(row + (long)own.Diagonal + p.Sequences.WindowRight + 1 - column), own.KvLength - column);
            int fullFrom = Registers.Pin(own.FirstKey(ref p.Sequences, row0 + ownRows - 1));
            int fullTo = Registers.Pin(own.EndKey(ref p.Sequences, row0));
            long key = Registers.Pin(p.Key.At(batch, own.KeyStart + copyRow, kvHead) + 16 * piece);
            long value = Registers.Pin(p.Value.At(batch, own.KeyStart + copyRow, kvHead) + 16 * piece);
            int keysLeft = Registers.Pin(own.KvLength - copyRow);
            for (int block = firstBlock - 1; block < endBlock; block++)
            {
                // The next block is copied while this one is multiplied; before the first there is nothing to multiply.
                int key0 = block * TTile.BlockN, next = key0 + TTile.BlockN;
                if (block >= firstBlock)
                    CudaAsm.Emit(RowCopies.Arrived);
                CudaAsm.Emit(NextStage);
                if (block + 1 < endBlock)
                {
                    CudaAsm.Emit(CopyKeys, key + 2 * next * p.Key.TokenStride, 2 * step * p.Key.TokenStride, keysLeft - next);
                    CudaAsm.Emit(CopyValues, value + 2 * next * p.Value.TokenStride, 2 * step * p.Value.TokenStride, keysLeft - next);
                }
                if (block < firstBlock)
                    continue;
                CudaAsm.Emit(MultiplyKeys);
                CudaAsm.Emit(MultiplyValues);
                if (key0 < fullFrom || next > fullTo)
                    CudaAsm.Emit(Mask, key0);
                CudaAsm.Emit(Transform);
                CudaAsm.Emit(Add);
            }
        }
        Store<TTile, TSequences>(ref p);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyOwn(ref BackwardMma.Parameters p, ref SequenceBlock own, int step, int row, int piece, int head, int batch)
    {
        int token = own.QueryStart + row, rowsLeft = own.QueryLength - row;
        CudaAsm.Emit(CopyQueries, p.Query.At(batch, token, head) + 16 * piece, 2 * step * p.Query.TokenStride, rowsLeft);
        CudaAsm.Emit(CopyGradients, p.GradOutput.At(batch, token, head) + 16 * piece, 2 * step * p.GradOutput.TokenStride, rowsLeft);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadStatistics(ref BackwardMma.Parameters p, ref SequenceBlock own, int row, int head, int batch) => CudaAsm.Emit(
        Statistics, p.Lse + 4 * (batch * p.LseBatchStride + head * p.LseHeadStride + own.QueryStart + row),
        p.Delta + 4 * (((long)batch * p.NumHeads + head) * p.Sequences.QueryLength + own.QueryStart + row), own.QueryLength - row);

    // Everything is computed once more from the group's index, read again: no register is kept for it through the loop.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TTile, TSequences>(ref BackwardMma.Parameters p)
        where TTile : struct, IBackwardMmaTile where TSequences : struct, ISequences
    {
        CudaAsm.Emit("mov.u32 %0, %%ctaid.x;", out int group);
        CudaAsm.Emit("mov.u32 %0, %%tid.x;", out int thread);
        var own = SequenceBlock.OfQueries<TSequences>(ref p.Sequences, p.Blocks - 1 - group % p.Blocks, BackwardMma.Rows<TTile>());
        int row = own.First + (thread & ~31) / (32 / BackwardMma.WarpRows<TTile>()) + MatrixLanes.ResultRow(thread & 31);
        int head = group / p.Blocks % p.NumHeads, batch = group / p.Blocks / p.NumHeads;
        CudaAsm.Emit(BackwardMma.StoreRows,
            p.GradQuery.At(batch, own.QueryStart + row, head) + 2 * MatrixLanes.ResultColumn(thread & 31),
            16 * p.GradQuery.TokenStride, own.QueryLength - row, p.SoftmaxScale);
    }

    // The lane's place %0 in query and gradOutput, %1 in keys and values, %2 in keys transposed; %3 the thread's place in a copy,
    // %4 in lse and δ, %5 scale, %6 the thread's piece of a row.
    private const string LaneAddresses = """
        $let WIDTH N
        $let ROWS 2*TILES
        $let Y TILES*N/2
        $let STAGES 2*OWN*PITCH
        $let STAGE 2*N*PITCH
        .reg .f32 x<$(TILES*N)>;
        .reg .f32 o<$(TILES*D/2)>;
        .reg .b32 w<$(TILES*N/4)>;
        .reg .f32 scale;
        .reg .b32 shared, leftLane, rightLane, sumLane, copyLane, statisticLane, right, sum, stage, begin, end, last;
        .reg .pred copies;
        setp.lt.s32 copies, %6, $(D/8);
        mov.u32 shared, dynamicShared;
        add.u32 leftLane, shared, %0;
        add.u32 rightLane, shared, %1;
        add.u32 rightLane, rightLane, $(STAGES);
        add.u32 sumLane, shared, %2;
        add.u32 sumLane, sumLane, $(STAGES);
        add.u32 copyLane, shared, %3;
        add.u32 statisticLane, shared, %4;
        add.u32 statisticLane, statisticLane, $(STAGES+2*STAGE);
        mov.f32 scale, %5;
        mov.b32 stage, $(STAGE);
        $for i 0 TILES*D/2
        mov.f32 o$(i), 0f00000000;
        $end
        """;

    private const string CopyQueries = "$let COUNT OWN\n$let TO 0\n" + RowCopies.Copy;
    private const string CopyGradients = "$let COUNT OWN\n$let TO OWN*PITCH\n" + RowCopies.Copy + "\nadd.u32 copyLane, copyLane, $(STAGES);";

    // The stage that was copied is multiplied, the other one is copied.
    private const string NextStage = """
        add.u32 right, rightLane, stage;
        add.u32 sum, sumLane, stage;
        sub.u32 stage, $(STAGE), stage;
        """;

    private const string CopyKeys = "add.u32 copyLane, copyLane, stage;\n$let COUNT N\n$let TO 0\n" + RowCopies.Copy;
    private const string CopyValues = "$let COUNT N\n$let TO N*PITCH\n" + RowCopies.Copy + "\nsub.u32 copyLane, copyLane, stage;";

    private const string LimitsOfKeys = BackwardMma.Limits + "\nmov.b32 last, %2;";

    // %0 address of the lse of the thread's first row, %1 of its δ, %2 rows from there to the end. −log2 e = 0xBFB8AA3B. Rows that
    // see nothing, whose lse is −∞, and rows past the end weigh nothing. Each thread keeps its own in shared memory: registers are few.
    private const string Statistics = """
        {
        .reg .f32 shift<$(ROWS)>, delta<$(ROWS)>;
        .reg .pred exists, none;
        $for r 0 ROWS
        setp.gt.s32 exists, %2, $(8*r);
        mov.f32 shift$(r), 0fFF800000;
        mov.f32 delta$(r), 0f00000000;
        @exists ld.global.f32 shift$(r), [%0+$(32*r)];
        @exists ld.global.f32 delta$(r), [%1+$(32*r)];
        setp.eq.f32 none, shift$(r), 0fFF800000;
        mul.ftz.f32 shift$(r), shift$(r), 0fBFB8AA3B;
        selp.f32 shift$(r), 0fFF800000, shift$(r), none;
        $end
        st.shared.v$(ROWS).f32 [statisticLane], {$list(shift,0,ROWS)};
        st.shared.v$(ROWS).f32 [statisticLane+$(16*OWN)], {$list(delta,0,ROWS)};
        }
        """;

    private const string MultiplyKeys =
        "$let FROM 0\n$let LEFT leftLane\n$let LEFT_AT 0\n$let RIGHT right\n$let RIGHT_AT 0\n" + BackwardMma.MultiplyRows;

    private const string MultiplyValues = "$let FROM Y\n$let LEFT_AT OWN*PITCH\n$let RIGHT_AT N*PITCH\n" + BackwardMma.MultiplyRows;

    private const string Mask = "$let X x\n" + ScoreRange.Mask;

    private const string Add = "$let RIGHT sum\n$let RIGHT_AT 0\n" + BackwardMma.AddProduct;

    private const string Transform = """
        {
        .reg .f32 shift<$(ROWS)>, delta<$(ROWS)>;
        ld.shared.v$(ROWS).f32 {$list(shift,0,ROWS)}, [statisticLane];
        ld.shared.v$(ROWS).f32 {$list(delta,0,ROWS)}, [statisticLane+$(16*OWN)];
        $for j 0 N/8
        $for r 0 ROWS
        $let AT 4*((r/2)*(N/8)+j)+2*(r&1)
        $for e 0 2
        fma.rn.ftz.f32 x$(AT+e), x$(AT+e), scale, shift$(r);
        ex2.approx.ftz.f32 x$(AT+e), x$(AT+e);
        sub.ftz.f32 x$(Y+AT+e), x$(Y+AT+e), delta$(r);
        mul.ftz.f32 x$(Y+AT+e), x$(Y+AT+e), x$(AT+e);
        $end
        cvt.rn.$(T)x2.f32 w$(AT/2), x$(Y+AT+1), x$(Y+AT);
        $end
        $end
        }
        """;
}
