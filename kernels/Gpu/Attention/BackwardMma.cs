using System.Runtime.CompilerServices;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// What the two kernels of attention's gradients on tensor cores have in common: arguments, ranges, copies. Rows lie in shared
/// memory 16 bytes apart, so that eight of them lie in different banks: ldmatrix meets no conflict.
/// </summary>
internal static class BackwardMma
{
    /// <summary>Rows that a group owns: query rows of one kernel, keys of the other.</summary>
    public static int Rows<TTile>() where TTile : struct, IBackwardMmaTile => 4 * WarpRows<TTile>();

    /// <summary>Rows that a warp owns, or a pair of warps.</summary>
    public static int WarpRows<TTile>() where TTile : struct, IBackwardMmaTile => 16 * TTile.RowTiles;

    /// <summary>The arguments. Strides are in elements.</summary>
    internal struct Parameters
    {
        public TokenAddress Query, Key, Value; // [batchSize, tokens, heads, headDim]
        public TokenAddress GradOutput;   // [batchSize, queryLength, numHeads, headDim]
        public TokenAddress GradQuery;    // shaped as the query
        public TokenAddress GradKey, GradValue; // shaped as key and value; 0 for one that is not wanted
        public long Lse;                  // [batchSize, numHeads, queryLength], natural log
        public long Delta;                // [batchSize, numHeads, queryLength], contiguous
        public long LseBatchStride, LseHeadStride;
        public SequenceParameters Sequences;
        public int NumHeads, GroupSize;
        public int Blocks;                // of query rows or keys
        public float SoftmaxScale;        // positive
    }

    /// <summary>Bytes from a row in shared memory to the next.</summary>
    public static int Pitch<TTile>() where TTile : struct, IBackwardMmaTile => 2 * TTile.HeadDim + 16;

    /// <summary>Constants of both kernels' inline code.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Constants<TTile, TElement>() where TTile : struct, IBackwardMmaTile where TElement : struct, ITensorCoreElement
    {
        CudaAsm.Emit("$let D %0", TTile.HeadDim);
        CudaAsm.Emit("$let M %0", TTile.BlockM);
        CudaAsm.Emit("$let N %0", TTile.BlockN);
        CudaAsm.Emit("$let TILES %0", TTile.RowTiles);
        CudaAsm.Emit("$let OWN %0", Rows<TTile>());
        CudaAsm.Emit("$let GUARDED %0", TTile.HeadDim / 8 < TTile.ThreadsOfRow ? 1 : 0);
        CudaAsm.Emit("$let IS_BF16 %0", TElement.IsBFloat16);
        CudaAsm.Emit("$let T $pick(IS_BF16,bf16,f16)\n$let PITCH 2*D+16");
    }

    /// <summary>Where the thread's first row begins and ends to see.</summary>
    public const string Limits = "mov.b32 begin, %0;\nmov.b32 end, %1;";

    /// <summary>
    /// x(FROM ..) = a warp's rows at LEFT · WIDTH rows at RIGHT, transposed: over headDim. Thread t of a warp holds, of rows
    /// 16 · tile + t / 4 and 8 below, columns 8 · j + 2 · (t % 4) and the next.
    /// </summary>
    public const string MultiplyRows = """
        {
        .reg .b32 a<$(4*TILES)>, b<4>;
        $for i 0 TILES*WIDTH/2
        mov.f32 x$(FROM+i), 0f00000000;
        $end
        $for k 0 D/16
        $for t 0 TILES
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$list(a,4*t,4)}, [$(LEFT)+$(LEFT_AT+t*16*PITCH+k*32)];
        $end
        $for n 0 WIDTH/16
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {b0, b1, b2, b3}, [$(RIGHT)+$(RIGHT_AT+n*16*PITCH+k*32)];
        $for t 0 TILES
        $for h 0 2
        mma.sync.aligned.m16n8k16.row.col.f32.$(T).$(T).f32 {$list(x,FROM+4*(t*WIDTH/8+2*n+h),4)}, {$list(a,4*t,4)}, {$list(b,2*h,2)}, {$list(x,FROM+4*(t*WIDTH/8+2*n+h),4)};
        $end
        $end
        $end
        $end
        }
        """;

    /// <summary>sums += w · WIDTH rows at RIGHT, with w a warp's rows of weights or of scores' gradients.</summary>
    public const string AddProduct = """
        {
        .reg .b32 b<4>;
        $for k 0 WIDTH/16
        $for n 0 D/16
        ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {b0, b1, b2, b3}, [$(RIGHT)+$(RIGHT_AT+k*16*PITCH+n*32)];
        $for t 0 TILES
        $for h 0 2
        mma.sync.aligned.m16n8k16.row.col.f32.$(T).$(T).f32 {$list(o,4*(t*D/8+2*n+h),4)}, {$list(w,t*WIDTH/4+4*k,4)}, {$list(b,2*h,2)}, {$list(o,4*(t*D/8+2*n+h),4)};
        $end
        $end
        $end
        $end
        }
        """;

    /// <summary>Stores sums times %3. %0 address of the first row, %1 bytes to the row 8 below, %2 rows from there to the end.</summary>
    public const string StoreRows = """
        {
        .reg .pred exists;
        .reg .b32 pair;
        .reg .b64 to;
        mov.b64 to, %0;
        $for r 0 2*TILES
        setp.gt.s32 exists, %2, $(8*r);
        $let AT 4*(r/2)*(D/8)+2*(r&1)
        $for j 0 D/8
        mul.f32 o$(AT+4*j), o$(AT+4*j), %3;
        mul.f32 o$(AT+4*j+1), o$(AT+4*j+1), %3;
        cvt.rn.$(T)x2.f32 pair, o$(AT+4*j+1), o$(AT+4*j);
        @exists st.global.b32 [to+$(16*j)], pair;
        $end
        add.s64 to, to, %1;
        $end
        }
        """;
}
