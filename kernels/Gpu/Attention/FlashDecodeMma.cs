using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// <see cref="FlashDecode"/> on the tensor cores of Ampere and later, where it reads keys and values as fast as memory gives
/// them. Query rows that share a key/value head are packed, row r standing for query r / groupSize and head r mod groupSize of
/// the group; 16 of them are a tile of mma, so that keys and values are read once for all. One group has one range of keys for
/// one such tile, and each of its warps every Warps-th block of it: a warp copies its blocks into a ring of its own, so that it
/// waits for no other, and keeps a state of its own (maximum, sum, output), which the group adds up at the end. When
/// there are several splits, the last group of a tile to end merges the states of all.
/// <para>Memory answers in about 0.8 µs. 4.2 TB/s over 132 multiprocessors are 26 KB in that time; Stages − 1 of the blocks of
/// two groups are 128 KiB, five times as much, since what arrives late must not stop what follows.</para>
/// Shared memory: Warps · Stages · 2 · BlockN · Pitch bytes, 96 KiB for every tile. Piece c of 16 bytes of row r lies at
/// c xor (r mod 8): eight rows of one column lie in different banks. Logarithms inside and partial ones are base 2, the lse that
/// is stored is natural. Hidden keys weigh 0, so infinities and NaNs in values of a block reach all its rows; keys past the
/// last one that any row sees are not read.
/// </summary>
internal static class FlashDecodeMma
{
    /// <summary>Query rows of a group.</summary>
    public const int Rows = 16;

    /// <summary>Most tiles whose keys may be split: each has a counter in the module's memory.</summary>
    public const int MaxSplitTiles = 1 << 14;

    /// <summary>Groups that share a multiprocessor.</summary>
    public const int GroupsPerMultiprocessor = 2;

    // Splits whose states a thread asks for before it adds the first.
    private const int SplitsAtOnce = 16;

    /// <summary>The arguments. Strides are in elements.</summary>
    internal struct Parameters
    {
        public TokenAddress Query; // [batchSize, queryLength, numHeads, headDim]
        public TokenAddress Key, Value; // [batchSize, kvLength, numKvHeads, headDim], or [pages, pageSize, headsOfAPage, headDim]
        public TokenAddress Output;       // [batchSize, queryLength, numHeads, headDim]
        public long Lse;                  // [batchSize, numHeads, queryLength], or 0
        public long KvLengths;            // i32 [batchSize, numKvHeads], or 0
        public long PageTable;            // i32 [batchSize, numKvHeads, pages], or 0
        public long PartialOutput;        // f32 [numSplits, batchSize, numHeads, queryLength, headDim], scratch when there are splits
        public long PartialLse;           // f32 [numSplits, batchSize, numHeads, queryLength], base 2, the same
        public long LseBatchStride, LseHeadStride, LengthStride, PageBatchStride, PageHeadStride;
        public int BatchSize, NumHeads, NumKvHeads, GroupSize, QueryLength, KvLength;
        public int PageSize, IsHeadPaged, RowBlocks, NumSplits;
        public int IsTopLeft, WindowLeft, WindowRight; // keys before and after its position that a row sees
        public float SoftmaxScaleLog2;    // softmaxScale · log2 e, positive
    }

    /// <summary>Shared memory of a group.</summary>
    public static int SharedBytes<TTile>() where TTile : struct, IDecodeMmaTile => TTile.Warps * TTile.Stages * 2 * TTile.BlockN * TTile.Pitch;

    /// <summary>The kernel; one group for each split of each block of rows of each key/value head of each sequence.</summary>
    public static void FlashAttentionDecodeMma<TTile, TElement>(Parameters p)
        where TTile : struct, IDecodeMmaTile
        where TElement : struct, ITensorCoreElement
    {
        Constants<TTile, TElement>();
        // Neighbours read neighbouring heads of the same keys.
        int rowBlock = Grid.IdxX % p.RowBlocks, rest = Grid.IdxX / p.RowBlocks;
        int kvHead = Registers.Pin(rest % p.NumKvHeads), split = rest / p.NumKvHeads % p.NumSplits;
        int batch = Registers.Pin(rest / p.NumKvHeads / p.NumSplits);
        int row0 = Registers.Pin(rowBlock * Rows), lane = Group.IdxX & 31, warp = Registers.Uniform(Group.IdxX >> 5);
        int length = p.KvLengths != 0 ? Load(p.KvLengths + 4 * (batch * p.LengthStride + kvHead)) : p.KvLength;
        int diagonal = Registers.Pin(p.IsTopLeft != 0 ? 0 : length - p.QueryLength); // position of query 0 among the keys

        int firstQuery = QueryOf(ref p, row0), lastQuery = QueryOf(ref p, row0 + Rows - 1);
        int first = Registers.Pin(FirstKey(ref p, firstQuery + diagonal, length)), end = Registers.Pin(EndKey(ref p, lastQuery + diagonal, length));
        int blocks = end > first ? (end - first + TTile.BlockN - 1) / TTile.BlockN : 0, blocksOfSplit = (blocks + p.NumSplits - 1) / p.NumSplits;
        int block = split * blocksOfSplit, blockEnd = block + blocksOfSplit < blocks ? block + blocksOfSplit : blocks;
        int keyEnd = Registers.Pin(first + blockEnd * TTile.BlockN), keyStep = TTile.BlockN * TTile.Warps;
        int key0 = first + (block + warp) * TTile.BlockN;

        int threadsOfRow = TTile.Pitch / 16, piece = lane & threadsOfRow - 1, copyRow = lane / threadsOfRow;
        CudaAsm.Emit("$let STEP %0", 32 / threadsOfRow);
        CudaAsm.Emit(
            LaneAddresses, warp * TTile.Stages * 2 * TTile.BlockN * TTile.Pitch,
            MatrixLanes.TransposedRow(lane) * TTile.Pitch + 16 * (MatrixLanes.TransposedColumn(lane) / 8 ^ lane & 7),
            MatrixLanes.Row(lane) * TTile.Pitch + 16 * (MatrixLanes.Column(lane) / 8 ^ lane & 7),
            copyRow * TTile.Pitch + 16 * (piece ^ copyRow), copyRow, piece, p.SoftmaxScaleLog2);
        LoadQueries(ref p, batch, kvHead, row0, lane);
        SetLimits(ref p, row0 + MatrixLanes.ResultRow(lane), diagonal, length, MatrixLanes.ResultColumn(lane));
        int fullFrom = Registers.Pin(FirstKey(ref p, lastQuery + diagonal, length)), fullTo = Registers.Pin(EndKey(ref p, firstQuery + diagonal, length));

        int headOfPage = p.IsHeadPaged != 0 ? 0 : kvHead;
        long key = Registers.Pin(p.Key.Address + 2 * (headOfPage * p.Key.HeadStride + piece * 8));
        long value = Registers.Pin(p.Value.Address + 2 * (headOfPage * p.Value.HeadStride + piece * 8));
        long pages = Registers.Pin(p.PageTable + 4 * (batch * p.PageBatchStride + kvHead * p.PageHeadStride));
        int copyKey = key0, laneKey = Registers.Pin(lane & TTile.BlockN - 1), copyEnd = Registers.Pin(end - copyRow);
        // The number of a page is asked for one block ahead of its use.
        int page = PageOf(ref p, pages, batch, copyKey + laneKey, end);
        for (int stage = 1; stage < TTile.Stages; stage++)
        {
            Copy(ref p, key, value, page, copyKey, laneKey, keyEnd, end, copyEnd);
            copyKey += keyStep;
            page = PageOf(ref p, pages, batch, copyKey + laneKey, end);
        }
        for (; key0 < keyEnd; key0 += keyStep)
        {
            CudaAsm.Emit(Arrived);
            Copy(ref p, key, value, page, copyKey, laneKey, keyEnd, end, copyEnd);
            copyKey += keyStep;
            page = PageOf(ref p, pages, batch, copyKey + laneKey, end);
            CudaAsm.Emit(MultiplyKeys);
            if (key0 < fullFrom || key0 + TTile.BlockN > fullTo)
                CudaAsm.Emit(Mask, key0);
            CudaAsm.Emit(Softmax);
            CudaAsm.Emit(MultiplyValues);
        }
        CudaAsm.Emit(StoreState, MatrixLanes.ResultRow(lane), MatrixLanes.ResultColumn(lane));
        for (int quad = Group.IdxX; quad < Rows * TTile.HeadDim / 4; quad += 32 * TTile.Warps)
        {
            int row = quad / (TTile.HeadDim / 4);
            CudaAsm.Emit(AddStates, row, quad - row * (TTile.HeadDim / 4));
            Store<TTile>(ref p, row0 + row, quad - row * (TTile.HeadDim / 4), kvHead, batch, p.NumSplits > 1 ? split : -1);
        }
        if (p.NumSplits > 1)
        {
            int tile = (batch * p.NumKvHeads + kvHead) * p.RowBlocks + rowBlock;
            CudaAsm.Emit("$let COUNTERS %0", MaxSplitTiles);
            CudaAsm.Emit("$let AT_ONCE %0", SplitsAtOnce);
            CudaAsm.Emit(CountGroup, out int isLast, tile, p.NumSplits - 1);
            if (isLast != 0)
                MergeSplits<TTile>(ref p, row0, kvHead, batch);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Constants<TTile, TElement>() where TTile : struct, IDecodeMmaTile where TElement : struct, ITensorCoreElement
    {
        CudaAsm.Emit("$let D %0", TTile.HeadDim);
        CudaAsm.Emit("$let N %0", TTile.BlockN);
        CudaAsm.Emit("$let PITCH %0", TTile.Pitch);
        CudaAsm.Emit("$let WARPS %0", TTile.Warps);
        CudaAsm.Emit("$let STAGES %0", TTile.Stages);
        CudaAsm.Emit("$let IS_BF16 %0", TElement.IsBFloat16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Load(long address)
    {
        CudaAsm.Emit("ld.global.b32 %0, [%1];", out int value, address);
        return value;
    }

    // The query of a packed row; the last one for rows past it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int QueryOf(ref Parameters p, int row)
    {
        int query = row / p.GroupSize;
        return query < p.QueryLength ? query : p.QueryLength - 1;
    }

    // The keys that the row at a position sees, first .. end − 1.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int FirstKey(ref Parameters p, int position, int length)
    {
        long first = (long)position - p.WindowLeft;
        return first <= 0 ? 0 : first < length ? (int)first : length;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int EndKey(ref Parameters p, int position, int length)
    {
        long end = (long)position + p.WindowRight + 1;
        return end <= 0 ? 0 : end < length ? (int)end : length;
    }

    // The tile as left operands. Rows past the last one are zeros.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadQueries(ref Parameters p, int batch, int kvHead, int row0, int lane)
    {
        int row = row0 + MatrixLanes.ResultRow(lane), rowCount = p.GroupSize * p.QueryLength;
        int lower = row + 8, lastRow = rowCount - 1;
        long query = p.Query.Address + 2 * (batch * p.Query.BatchStride + kvHead * p.GroupSize * p.Query.HeadStride + MatrixLanes.ResultColumn(lane));
        CudaAsm.Emit(
            LoadQueryRows, query + 2 * RowOffset(ref p, row < rowCount ? row : lastRow), query + 2 * RowOffset(ref p, lower < rowCount ? lower : lastRow),
            rowCount - row);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long RowOffset(ref Parameters p, int row) =>
        row / p.GroupSize * p.Query.TokenStride + row % p.GroupSize * p.Query.HeadStride;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetLimits(ref Parameters p, int row, int diagonal, int length, int column)
    {
        int upper = QueryOf(ref p, row) + diagonal, lower = QueryOf(ref p, row + 8) + diagonal;
        CudaAsm.Emit(
            Limits, FirstKey(ref p, upper, length) - column, FirstKey(ref p, lower, length) - column,
            EndKey(ref p, upper, length) - column, EndKey(ref p, lower, length) - column);
    }

    // The first index of a key in keys and values. Past the end, that of the last key.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int PageOf(ref Parameters p, long pages, int batch, int key, int end)
    {
        if (p.PageTable == 0)
            return batch;
        int last = end > 0 ? end - 1 : 0;
        return end > 0 ? Load(pages + 4L * ((key < last ? key : last) / p.PageSize)) : 0;
    }

    // Asks for the block at copyKey, or for nothing past the last one. A lane knows where one key lies and tells the others.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy(ref Parameters p, long key, long value, int page, int copyKey, int laneKey, int keyEnd, int end, int copyEnd)
    {
        if (copyKey < keyEnd)
        {
            int token = copyKey + laneKey < end ? copyKey + laneKey : end - 1;
            if (p.PageTable != 0)
                token %= p.PageSize;
            CudaAsm.Emit(
                CopyBlock, key, value, 2 * (page * p.Key.BatchStride + token * p.Key.TokenStride),
                2 * (page * p.Value.BatchStride + token * p.Value.TokenStride), copyEnd - copyKey);
        }
        CudaAsm.Emit(NextCopy);
    }

    // Writes r0 .. r3, four columns of a packed row, and lse: as the state of a split, or as the result where split is −1.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TTile>(ref Parameters p, int row, int quad, int kvHead, int batch, int split) where TTile : struct, IDecodeMmaTile
    {
        if (row >= p.GroupSize * p.QueryLength)
            return;
        int query = row / p.GroupSize, head = kvHead * p.GroupSize + row % p.GroupSize;
        if (split >= 0)
        {
            long index = split * AllRows(ref p) + ((long)batch * p.NumHeads + head) * p.QueryLength + query;
            CudaAsm.Emit(StorePartial, p.PartialOutput + 4 * (index * TTile.HeadDim + 4 * quad));
            if (quad == 0)
                CudaAsm.Emit("st.global.f32 [%0], lse;", p.PartialLse + 4 * index);
        }
        else
        {
            CudaAsm.Emit(StoreFinal, p.Output.Address + 2 * (batch * p.Output.BatchStride + query * p.Output.TokenStride + head * p.Output.HeadStride + 4 * quad));
            if (quad == 0 && p.Lse != 0)
                CudaAsm.Emit(StoreLse, p.Lse + 4 * (batch * p.LseBatchStride + head * p.LseHeadStride + query));
        }
    }

    // Query rows of all heads and sequences.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long AllRows(ref Parameters p) => (long)p.BatchSize * p.NumHeads * p.QueryLength;

    // The formula of MergePartialStates, for the rows of a tile.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MergeSplits<TTile>(ref Parameters p, int row0, int kvHead, int batch) where TTile : struct, IDecodeMmaTile
    {
        int rows = p.GroupSize * p.QueryLength - row0;
        rows = rows < Rows ? rows : Rows;
        long outputStep = 4 * AllRows(ref p) * TTile.HeadDim, lseStep = 4 * AllRows(ref p);
        for (int at = Group.IdxX; at < rows * (TTile.HeadDim / 4); at += 32 * TTile.Warps)
        {
            int row = row0 + at / (TTile.HeadDim / 4), quad = at % (TTile.HeadDim / 4);
            int query = row / p.GroupSize, head = kvHead * p.GroupSize + row % p.GroupSize;
            long index = ((long)batch * p.NumHeads + head) * p.QueryLength + query;
            long output = p.PartialOutput + 4 * (index * TTile.HeadDim + 4 * quad), lse = p.PartialLse + 4 * index;
            CudaAsm.Emit(StartMerge);
            for (int split = 0; split < p.NumSplits; split += SplitsAtOnce)
                CudaAsm.Emit(AddSplits, output + split * outputStep, outputStep, lse + split * lseStep, lseStep, p.NumSplits - split);
            CudaAsm.Emit(EndMerge);
            Store<TTile>(ref p, row, quad, kvHead, batch, -1);
        }
    }

    // %0 the warp's ring, %1 lane's place in a block of keys, %2 in one of values, %3 in a copy, %4 row and %5 piece that it
    // copies, %6 scale. Thread t of a warp holds, of rows t / 4 and 8 below, columns 8 · j + 2 · (t % 4) and the next:
    // s(4 · j) and the next of the upper row, then two of the lower.
    private const string LaneAddresses = """
        $let T $pick(IS_BF16,bf16,f16)
        $let BLOCK N*PITCH
        $let RING STAGES*2*BLOCK
        $let STATE_PITCH 4*D+32
        $let STATISTICS 16*STATE_PITCH
        .reg .b32 q<$(D/4)>;
        .reg .f32 s<$(N/2)>;
        .reg .f32 o<$(D/2)>;
        .reg .b32 w<$(N/4)>;
        .reg .f32 max<2>, sum<2>, shift<2>, rescale<2>, scale, lse;
        .reg .f32 r<4>, all, largest;
        .reg .b32 shared, ring, keyLane, valueLane, copyLane, copyRow, readAt, copyAt, begin<2>, end<2>;
        .reg .pred copies, wraps;
        mov.u32 shared, dynamicShared;
        add.u32 ring, shared, %0;
        add.u32 keyLane, ring, %1;
        add.u32 valueLane, ring, %2;
        add.u32 copyLane, ring, %3;
        mov.b32 copyRow, %4;
        setp.lt.s32 copies, %5, $(D/8);
        mov.f32 scale, %6;
        mov.b32 readAt, 0;
        mov.b32 copyAt, 0;
        $for i 0 D/2
        mov.f32 o$(i), 0f00000000;
        $end
        $for r 0 2
        mov.f32 max$(r), 0fFF800000;
        mov.f32 sum$(r), 0f00000000;
        $end
        """;

    // %0 address of the lane's columns in its upper row, %1 in its lower one, %2 rows from the upper one to the end.
    private const string LoadQueryRows = """
        {
        .reg .pred upper, lower;
        setp.gt.s32 upper, %2, 0;
        setp.gt.s32 lower, %2, 8;
        $for i 0 D/4
        mov.b32 q$(i), 0;
        $end
        $for k 0 D/16
        $for h 0 2
        @upper ld.global.b32 q$(4*k+2*h), [%0+$(32*k+16*h)];
        @lower ld.global.b32 q$(4*k+2*h+1), [%1+$(32*k+16*h)];
        $end
        $end
        }
        """;

    // The first key that the lane's rows see and the one after the last, less the column it holds.
    private const string Limits = """
        mov.b32 begin0, %0;
        mov.b32 begin1, %1;
        mov.b32 end0, %2;
        mov.b32 end1, %3;
        """;

    // %0 address of the thread's piece of keys, %1 of values, %2 where the lane's key lies from there, %3 its value, %4 keys from
    // the row that the lane copies to the end.
    private const string CopyBlock = """
        {
        .reg .b64 from;
        .reg .b32 bytes, to, row, low, high;
        .reg .pred exists;
        add.u32 copyAt, copyAt, copyLane;
        $for i 0 N/STEP
        setp.gt.s32 exists, %4, $(i*STEP);
        selp.b32 bytes, 16, 0, exists;
        xor.b32 to, copyAt, $((i*STEP&7)*16);
        add.u32 row, copyRow, $(i*STEP);
        $for v 0 2
        mov.b64 {low, high}, $pick(v,%3,%2);
        shfl.sync.idx.b32 low, low, row, 31, -1;
        shfl.sync.idx.b32 high, high, row, 31, -1;
        mov.b64 from, {low, high};
        add.s64 from, from, $pick(v,%1,%0);
        @copies cp.async.cg.shared.global.L2::128B [to+$(v*BLOCK+i*STEP*PITCH)], [from], 16, bytes;
        $end
        $end
        sub.u32 copyAt, copyAt, copyLane;
        }
        """;

    private const string NextCopy = """
        cp.async.commit_group;
        add.u32 copyAt, copyAt, $(2*BLOCK);
        setp.eq.u32 wraps, copyAt, $(RING);
        selp.b32 copyAt, 0, copyAt, wraps;
        """;

    // The oldest block is there, and every lane is done with the one before, which the next copy overwrites.
    private const string Arrived = """
        cp.async.wait_group $(STAGES-2);
        bar.warp.sync -1;
        """;

    private const string MultiplyKeys = """
        {
        .reg .b32 b<4>, block, at;
        add.u32 block, keyLane, readAt;
        $for i 0 N/2
        mov.f32 s$(i), 0f00000000;
        $end
        $for k 0 D/16
        xor.b32 at, block, $(32*k);
        $for n 0 N/16
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {b0, b1, b2, b3}, [at+$(n*16*PITCH)];
        $for h 0 2
        mma.sync.aligned.m16n8k16.row.col.f32.$(T).$(T).f32 {$list(s,8*n+4*h,4)}, {$list(q,4*k,4)}, {$list(b,2*h,2)}, {$list(s,8*n+4*h,4)};
        $end
        $end
        $end
        }
        """;

    private const string MultiplyValues = """
        {
        .reg .b32 b<4>, block, at;
        add.u32 block, valueLane, readAt;
        $for n 0 D/16
        xor.b32 at, block, $(32*n);
        $for k 0 N/16
        ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {b0, b1, b2, b3}, [at+$(BLOCK+k*16*PITCH)];
        $for h 0 2
        mma.sync.aligned.m16n8k16.row.col.f32.$(T).$(T).f32 {$list(o,8*n+4*h,4)}, {$list(w,4*k,4)}, {$list(b,2*h,2)}, {$list(o,8*n+4*h,4)};
        $end
        $end
        $end
        add.u32 readAt, readAt, $(2*BLOCK);
        setp.eq.u32 wraps, readAt, $(RING);
        selp.b32 readAt, 0, readAt, wraps;
        }
        """;

    // %0 the block's first key.
    private const string Mask = """
        {
        .reg .pred hides;
        .reg .b32 from, to;
        $for r 0 2
        sub.s32 from, begin$(r), %0;
        sub.s32 to, end$(r), %0;
        $for j 0 N/8
        $for e 0 2
        setp.gt.s32 hides, from, $(8*j+e);
        setp.le.or.s32 hides, to, $(8*j+e), hides;
        selp.f32 s$(4*j+2*r+e), 0fFF800000, s$(4*j+2*r+e), hides;
        $end
        $end
        $end
        }
        """;

    // Scores become weights; maxima and sums go on. A row that saw nothing yet has shift 0, so that no −∞ is subtracted from −∞.
    private const string Softmax = """
        {
        .reg .f32 most, other;
        .reg .pred none;
        $for r 0 2
        max.f32 most, s$(2*r), s$(2*r+1);
        $for j 1 N/8
        max.f32 other, s$(4*j+2*r), s$(4*j+2*r+1);
        max.f32 most, most, other;
        $end
        shfl.sync.bfly.b32 other, most, 1, 31, -1;
        max.f32 most, most, other;
        shfl.sync.bfly.b32 other, most, 2, 31, -1;
        max.f32 most, most, other;
        max.f32 most, most, max$(r);
        mul.ftz.f32 shift$(r), most, scale;
        setp.eq.f32 none, most, 0fFF800000;
        selp.f32 shift$(r), 0f00000000, shift$(r), none;
        neg.f32 shift$(r), shift$(r);
        fma.rn.ftz.f32 rescale$(r), max$(r), scale, shift$(r);
        ex2.approx.ftz.f32 rescale$(r), rescale$(r);
        mov.f32 max$(r), most;
        mul.ftz.f32 sum$(r), sum$(r), rescale$(r);
        $for j 0 N/8
        $for e 0 2
        fma.rn.ftz.f32 s$(4*j+2*r+e), s$(4*j+2*r+e), scale, shift$(r);
        ex2.approx.ftz.f32 s$(4*j+2*r+e), s$(4*j+2*r+e);
        add.ftz.f32 sum$(r), sum$(r), s$(4*j+2*r+e);
        $end
        cvt.rn.$(T)x2.f32 w$(2*j+r), s$(4*j+2*r+1), s$(4*j+2*r);
        $end
        $for j 0 D/8
        mul.ftz.f32 o$(4*j+2*r), o$(4*j+2*r), rescale$(r);
        mul.ftz.f32 o$(4*j+2*r+1), o$(4*j+2*r+1), rescale$(r);
        $end
        $end
        }
        """;

    // %0 the lane's upper row, %1 its first column. A warp's state goes where its ring was: output, then maximum and sum of rows.
    private const string StoreState = """
        {
        .reg .f32 other;
        .reg .b32 at, statistics;
        .reg .pred isFirst;
        cp.async.wait_all;
        bar.warp.sync -1;
        mad.lo.u32 at, %0, $(STATE_PITCH), ring;
        mad.lo.u32 at, %1, 4, at;
        mad.lo.u32 statistics, %0, 8, ring;
        setp.eq.s32 isFirst, %1, 0;
        $for r 0 2
        shfl.sync.bfly.b32 other, sum$(r), 1, 31, -1;
        add.f32 sum$(r), sum$(r), other;
        shfl.sync.bfly.b32 other, sum$(r), 2, 31, -1;
        add.f32 sum$(r), sum$(r), other;
        @isFirst st.shared.v2.f32 [statistics+$(STATISTICS+64*r)], {max$(r), sum$(r)};
        $for j 0 D/8
        st.shared.v2.f32 [at+$(8*r*STATE_PITCH+32*j)], {o$(4*j+2*r), o$(4*j+2*r+1)};
        $end
        $end
        bar.sync 0;
        }
        """;

    // %0 row, %1 four columns. Leaves their output in r0 .. r3 and the row's log-sum-exp, base 2, in lse.
    private const string AddStates = """
        {
        .reg .f32 most<$(WARPS)>, part<$(WARPS)>, weight, total, c<4>;
        .reg .b32 at, statistics;
        .reg .pred none, seen;
        mad.lo.u32 at, %0, $(STATE_PITCH), shared;
        mad.lo.u32 at, %1, 16, at;
        mad.lo.u32 statistics, %0, 8, shared;
        $for i 0 WARPS
        ld.shared.v2.f32 {most$(i), part$(i)}, [statistics+$(STATISTICS+i*RING)];
        $end
        mov.f32 largest, most0;
        $for i 1 WARPS
        max.f32 largest, largest, most$(i);
        $end
        mul.f32 largest, largest, scale;
        setp.eq.f32 none, largest, 0fFF800000;
        selp.f32 lse, 0f00000000, largest, none;
        neg.f32 lse, lse;
        mov.f32 total, 0f00000000;
        $for c 0 4
        mov.f32 r$(c), 0f00000000;
        $end
        $for i 0 WARPS
        ld.shared.v4.f32 {c0, c1, c2, c3}, [at+$(i*RING)];
        fma.rn.f32 weight, most$(i), scale, lse;
        ex2.approx.ftz.f32 weight, weight;
        fma.rn.f32 total, weight, part$(i), total;
        $for c 0 4
        fma.rn.f32 r$(c), weight, c$(c), r$(c);
        $end
        $end
        setp.neu.f32 seen, total, 0f00000000;
        rcp.approx.ftz.f32 weight, total;
        selp.f32 weight, weight, 0f00000000, seen;
        $for c 0 4
        mul.f32 r$(c), r$(c), weight;
        $end
        lg2.approx.f32 lse, total;
        add.f32 lse, lse, largest;
        }
        """;

    private const string StorePartial = "st.global.v4.f32 [%0], {r0, r1, r2, r3};";

    private const string StoreFinal = """
        {
        .reg .b32 left, right;
        cvt.rn.$(T)x2.f32 left, r1, r0;
        cvt.rn.$(T)x2.f32 right, r3, r2;
        st.global.v2.b32 [%0], {left, right};
        }
        """;

    // ln 2 = 0x3F317218.
    private const string StoreLse = """
        mul.f32 lse, lse, 0f3F317218;
        st.global.f32 [%0], lse;
        """;

    // %0 not 0 in the last group of a tile to come here, %1 the tile, %2 the number of its groups less one. A counter is 0 again
    // when all have come. What the others wrote is visible then.
    private const string CountGroup = """
        {
        .global .align 4 .b32 counters[$(COUNTERS)];
        .reg .b64 at;
        .reg .b32 before;
        .reg .pred isFirst;
        mov.u32 before, %%tid.x;
        setp.eq.u32 isFirst, before, 0;
        mov.u64 at, counters;
        mad.wide.u32 at, %1, 4, at;
        bar.sync 0;
        @isFirst fence.acq_rel.gpu;
        @isFirst atom.relaxed.gpu.global.inc.u32 before, [at], %2;
        @isFirst fence.acq_rel.gpu;
        @isFirst st.shared.b32 [shared], before;
        bar.sync 0;
        ld.shared.b32 before, [shared];
        setp.eq.u32 isFirst, before, %2;
        selp.b32 %0, 1, 0, isFirst;
        }
        """;

    private const string StartMerge = """
        mov.f32 largest, 0fFF800000;
        mov.f32 all, 0f00000000;
        $for c 0 4
        mov.f32 r$(c), 0f00000000;
        $end
        """;

    // %0 address of four columns of a split's output, %1 bytes to the next split's, %2 and %3 the same of log-sum-exps, %4 splits left.
    private const string AddSplits = """
        {
        .reg .f32 c<$(4*AT_ONCE)>, log<$(AT_ONCE)>, shift, weight;
        .reg .b64 output, lseAt;
        .reg .pred exists, none;
        mov.b64 output, %0;
        mov.b64 lseAt, %2;
        $for i 0 AT_ONCE
        setp.gt.s32 exists, %4, $(i);
        mov.f32 log$(i), 0fFF800000;
        $for c 0 4
        mov.f32 c$(4*i+c), 0f00000000;
        $end
        @exists ld.global.cg.f32 log$(i), [lseAt];
        @exists ld.global.cg.v4.f32 {$list(c,4*i,4)}, [output];
        add.s64 output, output, %1;
        add.s64 lseAt, lseAt, %3;
        $end
        mov.f32 shift, largest;
        $for i 0 AT_ONCE
        max.f32 largest, largest, log$(i);
        $end
        setp.eq.f32 none, largest, 0fFF800000;
        mov.f32 weight, shift;
        selp.f32 shift, 0f00000000, largest, none;
        sub.f32 weight, weight, shift;
        ex2.approx.ftz.f32 weight, weight;
        mul.f32 all, all, weight;
        $for c 0 4
        mul.f32 r$(c), r$(c), weight;
        $end
        $for i 0 AT_ONCE
        sub.f32 weight, log$(i), shift;
        ex2.approx.ftz.f32 weight, weight;
        add.f32 all, all, weight;
        $for c 0 4
        fma.rn.f32 r$(c), weight, c$(4*i+c), r$(c);
        $end
        $end
        }
        """;

    private const string EndMerge = """
        {
        .reg .f32 inverse;
        .reg .pred seen;
        setp.neu.f32 seen, all, 0f00000000;
        rcp.approx.ftz.f32 inverse, all;
        selp.f32 inverse, inverse, 0f00000000, seen;
        $for c 0 4
        mul.f32 r$(c), r$(c), inverse;
        $end
        lg2.approx.f32 lse, all;
        add.f32 lse, lse, largest;
        }
        """;
}
