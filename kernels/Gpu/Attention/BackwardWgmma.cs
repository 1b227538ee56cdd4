using System.Runtime.CompilerServices;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// What the two kernels of attention's gradients on Hopper's tensor cores have in common. A group owns 128 rows, of which two tiles stay
/// in shared memory; threads of its first warp group ask the copy engine for the tiles of the other side, step by step, and each of
/// the two others owns 64 rows.
/// </summary>
internal static class BackwardWgmma
{
    /// <summary>Rows that a group owns: keys of one kernel, query rows of the other.</summary>
    public const int Rows = 128;

    /// <summary>Threads of a group.</summary>
    public const int Threads = 384;

    /// <summary>Rows of statistics are whole multiples of this.</summary>
    public const int StatisticRows = 128;

    /// <summary>The arguments. Strides are in elements.</summary>
    internal struct Parameters
    {
        public TensorMap Query, GradOutput; // [batchSize, queryLength, numHeads, headDim], boxes of 64 elements by a tile's rows
        public TensorMap Key, Value;        // [batchSize, kvLength, numKvHeads, headDim], the same
        public TokenAddress GradQuery;      // shaped as the query
        public TokenAddress GradKey, GradValue; // shaped as key and value; 0 for one that is not wanted
        public long Statistics;             // f32 [batchSize, numHeads, 2, StatisticStride]: −lse · log2 e, then δ; −∞ and 0 past the last row
        public int StatisticStride;
        public int NumHeads, GroupSize, QueryLength, KvLength, IsCausal;
        public int Blocks;                  // of 128 query rows or keys
        public float SoftmaxScale;          // positive
    }

    /// <summary>Position of the key that the first query row sees last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Diagonal(ref Parameters p) => p.IsCausal != 0 ? (long)p.KvLength - p.QueryLength : int.MaxValue;

    /// <summary>Constants of both kernels' inline code, and where shared memory begins.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Begin<TTile, TElement>(int width) where TTile : struct, IBackwardWgmmaTile where TElement : struct, ITensorCoreElement
    {
        CudaAsm.Emit("$let D %0", TTile.HeadDim);
        CudaAsm.Emit("$let WIDTH %0", width);
        CudaAsm.Emit("$let IS_BF16 %0", TElement.IsBFloat16);
        CudaAsm.Emit(Layout);
    }

    private const string Layout = """
        $let T $pick(IS_BF16,bf16,f16)
        $let SLABS D/64
        $let LEFT_ROWS 128
        $let OWN SLABS*LEFT_ROWS*128
        $let STEP SLABS*WIDTH*128
        .reg .b32 shared;
        mov.u32 shared, dynamicShared;
        """;

    /// <summary>The copying warp group begins: it gives its registers away.</summary>
    public const string BeginCopies = """
        setmaxnreg.dec.sync.aligned.u32 24;
        .reg .b64 maps;
        mov.b64 maps, $(PARAMETERS);
        cvta.param.u64 maps, maps;
        """;

    /// <summary>A multiplying warp group begins. %0 scale · log2 e, %1 bytes to its rows in a slab.</summary>
    public const string BeginProducts = """
        setmaxnreg.inc.sync.aligned.u32 240;
        .reg .f32 s<$(WIDTH/2)>, x<$(WIDTH/2)>;
        .reg .f32 o<$(D/2)>;
        .reg .b32 w<$(WIDTH/4)>;
        .reg .f32 scale;
        .reg .b64 first, second;
        .reg .pred never, always, leads;
        setp.ne.b32 never, 0, 0;
        setp.eq.b32 always, 0, 0;
        $for i 0 D/2
        mov.f32 o$(i), 0f00000000;
        $end
        mov.f32 scale, %0;
        {
        .reg .b32 lane, address;
        mov.u32 lane, %%laneid;
        setp.eq.u32 leads, lane, 0;
        add.u32 address, shared, %1;
        shr.u32 address, address, 4;
        cvt.u64.u32 first, address;
        or.b64 first, first, 0x4000004000010000;
        add.u64 second, first, $(OWN/16);
        }
        """;

    /// <summary>Stores SUMS times %4. %0, %1 addresses of the two rows' first elements, %2, %3 whether the rows exist.</summary>
    public const string StoreRows = """
        {
        .reg .pred exists;
        .reg .b32 pair;
        .reg .f32 low, high;
        $for r 0 2
        setp.ne.s32 exists, $pick(r,%3,%2), 0;
        $for j 0 D/8
        mul.f32 low, $(SUMS)$(4*j+2*r), %4;
        mul.f32 high, $(SUMS)$(4*j+2*r+1), %4;
        cvt.rn.$(T)x2.f32 pair, high, low;
        @exists st.global.b32 [$pick(r,%1,%0)+$(16*j)], pair;
        $end
        $end
        }
        """;
}
