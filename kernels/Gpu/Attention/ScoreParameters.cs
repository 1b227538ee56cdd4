using ILGPU;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// What varies between the kinds of attention: how sequences lie in the batch, which keys a row sees, and what becomes of a
/// score. <see cref="ScoreOptions"/> computes with it; an absent operand has its Has field 0 and a view that is not read.
/// </summary>
internal struct ScoreParameters
{
    public ArrayView<int> QueryOffsets, KvOffsets; // [sequences + 1], when IsRagged
    public ArrayView<int> HeadWindows;          // [numHeads, 2]
    public ArrayView<float> AlibiSlopes;        // [sequences, numHeads]
    public ArrayView<byte> Bias;                // [batchSize, numHeads, queryLength, kvLength], strides 0 where it repeats
    public ArrayView<byte> Mask;                // the same, bytes
    public ArrayView<byte> BlockMask;           // [batchSize, numHeads, queryBlocks, keyBlocks], bytes
    public long BiasBatchStride, BiasHeadStride, BiasRowStride;
    public long MaskBatchStride, MaskHeadStride, MaskRowStride;
    public long BlockBatchStride, BlockHeadStride, BlockRowStride;
    public long HeadWindowStride, SlopeStride;
    public int BiasKeyStride, MaskKeyStride;    // 1, or 0 where they repeat
    public int IsRagged, HasHeadWindows, HasSlopes, HasBias, HasMask;
    public int BiasType, MaskBlock;             // MaskBlock: 0 for no block mask
    public int NumSequences, NumHeads, NumKvHeads, GroupSize, QueryLength, KvLength;
    public int IsCausal, IsTopLeft, WindowLeft, WindowRight, SinkCount, ChunkSize;
    public float SoftmaxScale, LogitSoftCap;
}
