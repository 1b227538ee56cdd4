using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class Attention
{
    /// <summary>Decoding that says what weight each key got.</summary>
    public static Operation<AttentionDecodeMassProblem> DecodeMassOperation { get; } = new(
        "attention-decode-mass", "attention of a few query rows over a long cache, and the weight that each key got from them",
        new AttentionDecodeMassReference<double>("attention-decode-mass/reference", DeviceKinds.Reference),
        new AttentionDecodeMassReference<float>("attention-decode-mass/plain", DeviceKinds.Cpu),
        new FlashDecodeMass<Simd512, Vector512<float>>(),
        new FlashDecodeMass<Simd256, Vector256<float>>(),
        new FlashDecodeMass<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new AttentionDecodeMassRows()] : [],
        Examples =
        [
            "q=1 k=1 d=1", "h=8 kv=2 q=1 k=513 d=64", "b=2 h=6 kv=2 q=3 k=1025 d=40 dv=24 causal",
            "h=4 kv=2 q=1 k=300 d=64 page=32 pool=20 headpages lengths bf16",
            "h=4 kv=4 q=2 k=129 d=80 causal f16", "h=8 kv=2 q=1 k=300 d=64 add", "h=2 q=1 k=0 d=8",
        ],
        Benchmarks = ["h=32 kv=8 q=1 k=32768 d=128", "h=32 kv=8 q=1 k=4096 d=128"],
    };

    /// <summary>Computes attention for a few query rows over a long cache, and sums up by key what weights the rows give.</summary>
    /// <param name="query">[batchSize, queryLength, numHeads, headDim]</param>
    /// <param name="key">[batchSize, kvLength, numKvHeads, headDim], or a pool of pages</param>
    /// <param name="value">[batchSize, kvLength, numKvHeads, valueHeadDim], or a pool of pages</param>
    /// <param name="output">[batchSize, queryLength, numHeads, valueHeadDim], written</param>
    /// <param name="lse">f32 [batchSize, numHeads, queryLength], written: natural log of the softmax denominator</param>
    /// <param name="columnMass">
    /// f32 [batchSize, numHeads, kvLength], written or added to: Σ over rows of exp(score − lse), 0 for unused slots
    /// </param>
    /// <param name="options">Masks and scale; null for none and 1/√headDim.</param>
    /// <param name="inputs">Optional tensors; sequences are not ragged.</param>
    /// <param name="addsMass">Whether the sums are added to what columnMass holds.</param>
    /// <exception cref="ArgumentException">Shapes, types, devices or the integers of an operand do not fit one another.</exception>
    public static void DecodeMass(
        TensorView query, TensorView key, TensorView value, TensorView output, TensorView lse, TensorView columnMass,
        AttentionOptions? options = null, in AttentionInputs inputs = default, bool addsMass = false)
    {
        AttentionProblem forward = CreateProblem(query, key, value, options ?? AttentionOptions.Default, inputs);
        query.Storage!.Device.Run(DecodeMassOperation, new AttentionDecodeMassProblem(forward, addsMass), [
            query, key, value, output, lse, inputs.AlibiSlopes, inputs.Bias, inputs.Mask, inputs.BlockMask, inputs.SinkLogits,
            inputs.HeadWindows, inputs.QueryOffsets, inputs.KvOffsets, inputs.KvLengths, inputs.PageTable, inputs.SlotBias,
            inputs.KeyScale, inputs.ValueScale, inputs.HeadGain, inputs.HeadOffset, columnMass]);
    }
}
