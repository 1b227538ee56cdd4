using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class Attention
{
    /// <summary>The gradients of attention.</summary>
    public static Operation<AttentionBackwardProblem> BackwardOperation { get; } = new(
        "attention-backward", "gradients of attention: of query, key, value, bias, sink logits and ALiBi slopes",
        new AttentionBackwardReference<double>("attention-backward/reference", DeviceKinds.Reference),
        new AttentionBackwardReference<float>("attention-backward/plain", DeviceKinds.Cpu),
        new FlashBackward<Simd512, Vector512<float>>(),
        new FlashBackward<Simd256, Vector256<float>>(),
        new FlashBackward<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new AttentionBackwardWgmma(), new AttentionBackwardMma(), new AttentionBackwardTiled()] : [],
        Examples =
        [
            "q=1 k=1 d=1", "q=3 k=3 d=40 causal gradlse", "b=2 h=6 kv=2 q=33 k=65 d=64 dv=24 causal", "h=4 kv=1 q=17 k=57 d=80 bf16",
            "h=2 q=9 k=4 d=16 causal f16 sink softcap=10", "b=2 h=2 q=9 k=12 d=8 bias=hqk alibi left=4", "q=5 k=0 d=8",
        ],
        Benchmarks = ["h=8 q=512 k=512 d=64", "h=8 q=2048 k=2048 d=64", "h=8 q=2048 k=2048 d=64 causal", "h=32 kv=8 q=2048 k=2048 d=128"],
    };

    /// <summary>
    /// Computes the gradients of attention from a forward pass's operands and results. The same inputs give the same bits on
    /// every run with the same number of threads. Memory besides the operands grows with the lengths, not with their product.
    /// </summary>
    /// <param name="query">[batchSize, queryLength, numHeads, headDim]</param>
    /// <param name="key">[batchSize, kvLength, numKvHeads, headDim]</param>
    /// <param name="value">[batchSize, kvLength, numKvHeads, valueHeadDim]</param>
    /// <param name="output">[batchSize, queryLength, numHeads, valueHeadDim], as <see cref="Forward"/> wrote it</param>
    /// <param name="lse">f32 [batchSize, numHeads, queryLength], as <see cref="Forward"/> wrote it</param>
    /// <param name="gradOutput">The loss's gradient with respect to the output, shaped and stored as it.</param>
    /// <param name="gradients">The gradients wanted, written.</param>
    /// <param name="options">Those of the forward pass.</param>
    /// <param name="gradLse">Optional: the loss's gradient with respect to the log-sum-exp, f32, shaped as it.</param>
    /// <param name="inputs">Those of the forward pass.</param>
    /// <exception cref="ArgumentException">Shapes, types, devices or the integers of an operand do not fit one another, or the
    /// problem has no gradients: pages, lengths, i8 storage, gains.</exception>
    public static void Backward(
        TensorView query, TensorView key, TensorView value, TensorView output, TensorView lse, TensorView gradOutput,
        in AttentionGradients gradients, AttentionOptions? options = null, TensorView gradLse = default, in AttentionInputs inputs = default)
    {
        var problem = new AttentionBackwardProblem(
            CreateProblem(query, key, value, options ?? AttentionOptions.Default, inputs), gradLse.IsPresent);
        query.Storage!.Device.Run(BackwardOperation, problem, [
            query, key, value, output, lse, inputs.AlibiSlopes, inputs.Bias, inputs.Mask, inputs.BlockMask, inputs.SinkLogits,
            inputs.HeadWindows, inputs.QueryOffsets, inputs.KvOffsets, inputs.KvLengths, inputs.PageTable, inputs.SlotBias,
            inputs.KeyScale, inputs.ValueScale, inputs.HeadGain, inputs.HeadOffset, gradOutput, gradLse,
            gradients.Query, gradients.Key, gradients.Value, gradients.Bias, gradients.SinkLogits, gradients.AlibiSlopes]);
    }
}
