using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// The arguments of the kernels of attention's gradients. Types are known when running: each kernel is compiled once.
/// </summary>
internal struct BackwardParameters
{
    public TypedTensor Query;           // [batchSize, queryLength, numHeads, headDim]
    public TypedTensor Key;             // [batchSize, kvLength, numKvHeads, headDim]
    public TypedTensor Value;           // [batchSize, kvLength, numKvHeads, valueHeadDim]
    public TypedTensor GradOutput;      // [batchSize, queryLength, numHeads, valueHeadDim]
    public TypedTensor Target;          // the gradient that is written: of query, key or value, shaped as it
    public TypedTensor GradBias;        // its strides are those of batch, row and head
    public ArrayView<float> Lse;        // [batchSize, numHeads, queryLength], natural log
    public ArrayView<float> Delta;      // [batchSize, numHeads, queryLength], contiguous
    public ArrayView<float> RowSlopes;  // the same: each row's part of the slope's gradient
    public ScoreParameters Scores;
    public long LseBatchStride, LseHeadStride;
    public int HeadDim, ValueHeadDim;
    public int Blocks;                  // blocks of rows, or of keys, of each key/value head of each sequence
    public int Chunks;                  // pieces of 128 columns of the target
    public int HasTarget;               // 0 when only by-products are wanted
    public int WritesBias, WritesSlopes;
    public int IsValue;                 // the target is gradValue, not gradKey
    public int BiasBatches, BiasHeads, BiasRows, BiasKeys; // the bias's shape
}
