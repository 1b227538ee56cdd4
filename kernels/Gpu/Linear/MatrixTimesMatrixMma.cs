using ILGPU;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Linear;

/// <summary>
/// <see cref="MatrixTimesMatrix"/> for 16-bit weights on the tensor cores of Ampere and later. They multiply 16 bits, and the input has
/// 32: it is taken apart into three bf16 whose sum it is (24 bits of mantissa are three times 8), and each is multiplied with the weights
/// into the same float32 sums. bf16 weights are operands as they are; f16 ones are a sum of two bf16, and the smallest of the six
/// products, below 2^−24, is left out.
/// One group of 8 warps computes 128 rows × 128 features, a warp 32 × 64 of them, from steps of 32 columns, the next of which is copied
/// meanwhile. Shared memory: two stages of 128 rows of 160 bytes and 128 of 80, so that what lanes read at once lies in different banks.
/// The tensor cores cut their sums instead of rounding them, so each 32 columns have sums of their own, which are then added.
/// 2 · rows · outputSize · inputSize FLOPs of the layer are three or five times as many of the tensor cores. An infinite input, and one
/// above the largest bf16, gives NaN.
/// </summary>
internal static class MatrixTimesMatrixMma
{
    /// <summary>Rows and features of a group's tile.</summary>
    public const int Block = 128;

    /// <summary>Threads of a group.</summary>
    public const int Threads = 256;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 2 * Block * (InputPitch + WeightPitch);

    private const int Depth = 32, InputPitch = 4 * Depth + 32, WeightPitch = 2 * Depth + 16;

    /// <summary>The arguments. Strides are in elements.</summary>
    internal struct Parameters
    {
        public long Input;                // f32 [rows, inputSize]
        public long Weight;               // [outputSize, inputSize]
        public long Output;               // f32 [rows, outputSize]
        public long InputStride, WeightStride, OutputStride;
        public int Rows, OutputSize, InputSize;
    }

    /// <summary>The kernel; one group a tile, tiles of one block of rows next to each other.</summary>
    public static void LinearMma<TElement>(Parameters p) where TElement : struct, ITensorCoreElement
    {
        CudaAsm.Emit("$let IS_BF16 %0", TElement.IsBFloat16);
        CudaAsm.Emit("$let INPUT_PITCH %0", InputPitch);
        CudaAsm.Emit("$let WEIGHT_PITCH %0", WeightPitch);
        CudaAsm.Emit("$let WEIGHTS %0", Block * InputPitch);
        CudaAsm.Emit("$let STAGE %0", SharedBytes / 2);
        CudaAsm.Emit("$let COUNT %0", Block);
        CudaAsm.Emit("$let TO 0\n$let GUARDED 0");
        int featureBlocks = (p.OutputSize + Block - 1) / Block;
        int row0 = Registers.Pin(Grid.IdxX / featureBlocks * Block), feature0 = Registers.Pin(Grid.IdxX % featureBlocks * Block);
        int lane = Group.IdxX & 31, warp = Registers.Uniform(Group.IdxX >> 5);
        int warpRow = 32 * (warp & 3), warpFeature = 64 * (warp >> 2);

        // Eight threads write a row of the input, or the same piece of eight rows of weights: never two to one bank.
        int inputRow = Group.IdxX >> 3, inputPiece = Group.IdxX & 7, weightRow = 8 * warp + (lane & 7), weightPiece = lane >> 3;
        CudaAsm.Emit(
            LaneAddresses, (warpRow + MatrixLanes.ResultRow(lane)) * InputPitch + 4 * MatrixLanes.ResultColumn(lane),
            (warpFeature + MatrixLanes.TransposedRow(lane)) * WeightPitch + 2 * MatrixLanes.TransposedColumn(lane),
            inputRow * InputPitch + 16 * inputPiece, weightRow * WeightPitch + 16 * weightPiece);
        long input = Registers.Pin(p.Input + 4 * ((row0 + inputRow) * p.InputStride + 4 * inputPiece));
        long weight = Registers.Pin(p.Weight + 2 * ((feature0 + weightRow) * p.WeightStride + 8 * weightPiece));
        int inputRows = Registers.Pin(p.Rows - row0 - inputRow), weightRows = Registers.Pin(p.OutputSize - feature0 - weightRow);
        for (int column = -Depth; column < p.InputSize; column += Depth)
        {
            // The next step is copied while this one is multiplied; before the first there is nothing to multiply.
            int next = column + Depth;
            if (column >= 0)
                CudaAsm.Emit(RowCopies.Arrived);
            CudaAsm.Emit(NextStage);
            if (next < p.InputSize)
            {
                // Columns past the last count as zero, as rows do.
                int columns = p.InputSize - next;
                CudaAsm.Emit(CopyInput, input + 4 * next, 4 * 32 * p.InputStride, 4 * inputPiece < columns ? inputRows : 0);
                CudaAsm.Emit(CopyWeights, weight + 2 * next, 2 * 64 * p.WeightStride, 8 * weightPiece < columns ? weightRows : 0);
            }
            if (column >= 0)
                CudaAsm.Emit(Multiply);
        }
        int row = row0 + warpRow + MatrixLanes.ResultRow(lane), feature = feature0 + warpFeature + MatrixLanes.ResultColumn(lane);
        CudaAsm.Emit(StoreRows, p.Output + 4 * (row * p.OutputStride + feature), 32 * p.OutputStride, p.Rows - row, p.OutputSize - feature);
    }

    // %0 the lane's place in the input, %1 in the weights, %2 and %3 the thread's places in their copies. Thread t of a warp holds, of
    // rows 16 · tile + t / 4 and 8 below, features 8 · j + 2 · (t % 4) and the next: o(4 · (8 · tile + j)) and the next of the upper
    // row, then two of the lower.
    private const string LaneAddresses = """
        .reg .f32 o<64>;
        .reg .b32 shared, inputLane, weightLane, inputCopy, weightCopy, copyLane, input, weight, stage;
        mov.u32 shared, dynamicShared;
        add.u32 inputLane, shared, %0;
        add.u32 weightLane, shared, %1;
        add.u32 weightLane, weightLane, $(WEIGHTS);
        add.u32 inputCopy, shared, %2;
        add.u32 weightCopy, shared, %3;
        add.u32 weightCopy, weightCopy, $(WEIGHTS);
        mov.b32 stage, $(STAGE);
        $for i 0 64
        mov.f32 o$(i), 0f00000000;
        $end
        """;

    // The stage that was copied is multiplied, the other one is copied.
    private const string NextStage = """
        add.u32 input, inputLane, stage;
        add.u32 weight, weightLane, stage;
        sub.u32 stage, $(STAGE), stage;
        """;

    private const string CopyInput = "add.u32 copyLane, inputCopy, stage;\n$let STEP 32\n$let PITCH INPUT_PITCH\n" + RowCopies.Copy;

    private const string CopyWeights = "add.u32 copyLane, weightCopy, stage;\n$let STEP 64\n$let PITCH WEIGHT_PITCH\n" + RowCopies.Copy;

    // a(4 · part ..) are left operands: parts of the input, the largest first; b(2 · half ..) are right operands of 8 features, and b4 and
    // b5 what f16 weights are more than the first. Weights are loaded anew for the second 16 rows.
    private const string Multiply = """
        {
        .reg .f32 x<2>, sum<64>, zero;
        .reg .b32 a<12>, b<6>, most<2>;
        .reg .b16 half<2>;
        mov.f32 zero, 0f00000000;
        $let WEIGHT_PARTS 2-IS_BF16
        $for k 0 2
        $for t 0 2
        $for r 0 4
        ld.shared.v2.f32 {x0, x1}, [input+$((16*t+8*(r&1))*INPUT_PITCH+32*(r/2)+64*k)];
        $for p 0 3
        cvt.rn.bf16x2.f32 a$(4*p+r), x1, x0;
        $if p<2
        shl.b32 most0, a$(4*p+r), 16;
        and.b32 most1, a$(4*p+r), 0xFFFF0000;
        sub.f32 x0, x0, most0;
        sub.f32 x1, x1, most1;
        $end
        $end
        $end
        $for n 0 4
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {b0, b1, b2, b3}, [weight+$(16*n*WEIGHT_PITCH+32*k)];
        $for h 0 2
        $let AT 4*(8*t+2*n+h)
        $if WEIGHT_PARTS==2
        $for i 0 2
        mov.b32 {half0, half1}, b$(2*h+i);
        cvt.f32.f16 x0, half0;
        cvt.f32.f16 x1, half1;
        cvt.rn.bf16x2.f32 b$(2*h+i), x1, x0;
        shl.b32 most0, b$(2*h+i), 16;
        and.b32 most1, b$(2*h+i), 0xFFFF0000;
        sub.f32 x0, x0, most0;
        sub.f32 x1, x1, most1;
        cvt.rn.bf16x2.f32 b$(4+i), x1, x0;
        $end
        $end
        $for q 0 WEIGHT_PARTS
        $for p 0 3-q
        $if k+p+q
        mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$list(sum,AT,4)}, {$list(a,4*p,4)}, {$list(b,2*h+q*(4-2*h),2)}, {$list(sum,AT,4)};
        $else
        mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$list(sum,AT,4)}, {$list(a,4*p,4)}, {$list(b,2*h+q*(4-2*h),2)}, {zero, zero, zero, zero};
        $end
        $end
        $end
        $end
        $end
        $end
        $end
        $for i 0 64
        add.f32 o$(i), o$(i), sum$(i);
        $end
        }
        """;

    // %0 address of the first pair, %1 bytes to the row 8 below, %2 rows and %3 features from there to the end.
    private const string StoreRows = """
        {
        .reg .pred exists, both;
        .reg .b64 to;
        mov.b64 to, %0;
        $for r 0 4
        setp.gt.s32 exists, %2, $(8*r);
        $let AT 4*(r/2)*8+2*(r&1)
        $for j 0 8
        setp.gt.and.s32 both, %3, $(8*j), exists;
        @both st.global.v2.f32 [to+$(32*j)], {$list(o,AT+4*j,2)};
        $end
        add.s64 to, to, %1;
        $end
        }
        """;
}
