using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;
using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

public static partial class SparseAttention
{
    /// <summary>The gradients of attention over lists of keys.</summary>
    public static Operation<SparseAttentionBackwardProblem> BackwardOperation { get; } = new(
        "sparse-attention-backward", "gradients of attention over a list of keys for each query row: of query, key and value",
        new SparseAttentionBackwardReference<double>("sparse-attention-backward/reference", DeviceKinds.Reference),
        new SparseAttentionBackwardReference<float>("sparse-attention-backward/plain", DeviceKinds.Cpu),
        new SparseAttentionBackward<Simd512, Vector512<float>>(),
        new SparseAttentionBackward<Simd256, Vector256<float>>(),
        new SparseAttentionBackward<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new SparseAttentionBackwardRows()] : [],
        Examples =
        [
            "q=1 k=1 d=1 keep=1", "h=2 q=33 k=65 d=64 keep=20 gradlse", "b=2 h=6 kv=2 index=2 q=17 k=50 d=40 dv=24 keep=33",
            "h=4 kv=1 index=1 q=19 k=57 d=80 keep=40 bf16", "h=2 q=9 k=12 d=16 keep=30 softcap=10 columns=u16 f16", "q=5 k=0 d=8 keep=0",
        ],
        Benchmarks = ["h=8 q=4096 k=4096 d=64 keep=512", "h=8 q=8192 k=8192 d=64 keep=1024"],
    };

    /// <summary>
    /// Computes the gradients of attention over lists from a forward pass's operands and results; the lists are constants. The same inputs
    /// give the same bits on every run with the same number of threads. Gradients left out are not computed.
    /// </summary>
    /// <param name="query">[batchSize, queryLength, numHeads, headDim]</param>
    /// <param name="key">[batchSize, kvLength, numKvHeads, headDim]</param>
    /// <param name="value">[batchSize, kvLength, numKvHeads, valueHeadDim]</param>
    /// <param name="columns">i32 or u16 [batchSize, indexHeads, queryLength, capacity], those of <see cref="Forward"/></param>
    /// <param name="counts">i32 [batchSize, indexHeads, queryLength]</param>
    /// <param name="output">[batchSize, queryLength, numHeads, valueHeadDim], as <see cref="Forward"/> wrote it</param>
    /// <param name="lse">f32 [batchSize, numHeads, queryLength], as <see cref="Forward"/> wrote it</param>
    /// <param name="gradOutput">The loss's gradient with respect to the output, shaped and stored as it.</param>
    /// <param name="gradQuery">Shaped and stored as the query, written; default for none.</param>
    /// <param name="gradKey">Shaped and stored as the key, written: the sum over the query heads of a group; default for none.</param>
    /// <param name="gradValue">Shaped and stored as the value, written, likewise; default for none.</param>
    /// <param name="gradLse">Optional: the loss's gradient with respect to the log-sum-exp, f32, shaped as it.</param>
    /// <param name="softmaxScale">That of the forward pass.</param>
    /// <param name="logitSoftCap">That of the forward pass.</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a count is out of range or a list does not rise from 0 to
    /// kvLength − 1 at the most.
    /// </exception>
    public static void Backward(
        TensorView query, TensorView key, TensorView value, TensorView columns, TensorView counts, TensorView output, TensorView lse,
        TensorView gradOutput, TensorView gradQuery, TensorView gradKey, TensorView gradValue, TensorView gradLse = default,
        float? softmaxScale = null, float logitSoftCap = 0f)
    {
        var problem = new SparseAttentionBackwardProblem(
            CreateProblem(query, key, value, columns, softmaxScale, logitSoftCap), gradLse.IsPresent);
        query.Storage!.Device.Run(BackwardOperation, problem,
            [query, key, value, columns, counts, output, lse, gradOutput, gradLse, gradQuery, gradKey, gradValue]);
    }
}
