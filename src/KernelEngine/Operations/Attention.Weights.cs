using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class Attention
{
    /// <summary>Attention weights, and their sums by key, from the log-sum-exp of a forward pass.</summary>
    public static Operation<AttentionWeightsProblem> WeightsOperation { get; } = new(
        "attention-weights", "exp(scores - lse) of some rows of a forward pass, and the sums by key that cache policies rank",
        new AttentionWeightsReference<double>("attention-weights/reference", DeviceKinds.Reference),
        new AttentionWeightsReference<float>("attention-weights/plain", DeviceKinds.Cpu),
        new AttentionWeights<Simd512, Vector512<float>>(),
        new AttentionWeights<Simd256, Vector256<float>>(),
        new AttentionWeights<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new AttentionWeightsKeys()] : [],
        Examples =
        [
            "q=1 k=1 d=1", "b=2 h=4 kv=2 q=20 k=70 d=40 causal", "h=2 q=100 k=300 d=16 causal left=50 sinks=3 row=90", "q=9 k=33 d=64 softcap=5 alibi bf16", "q=9 k=33 d=40 f16",
            "h=2 q=30 k=30 d=8 mask=qk bias=hqk row=4 rows=7",
            "h=4 kv=2 q=20 k=300 d=16 causal add", "q=3 k=0 d=8",
        ],
        Benchmarks = ["h=32 kv=8 q=4096 k=4096 d=128 causal row=4064", "h=32 kv=8 q=2048 k=2048 d=128 causal"],
    };

    /// <summary>
    /// Computes attention weights p = exp(score − lse), 0 where hidden, and their sums over the rows, from what a forward pass
    /// with the same options wrote. Rows are chosen by slicing query and lse; biases, masks and lengths stay those of the pass.
    /// </summary>
    /// <param name="query">[batchSize, rowCount, numHeads, headDim]: the wanted rows of the pass's query</param>
    /// <param name="key">[batchSize, kvLength, numKvHeads, headDim], or a pool of pages</param>
    /// <param name="lse">f32 [batchSize, numHeads, rowCount]: the wanted rows of the pass's log-sum-exp</param>
    /// <param name="weights">f32 [batchSize, numHeads, rowCount, kvLength], written; default for none</param>
    /// <param name="columnMass">f32 [batchSize, numHeads, kvLength], written or added to; default for none</param>
    /// <param name="options">The forward pass's.</param>
    /// <param name="inputs">The forward pass's; what has no part in the weights is passed over.</param>
    /// <param name="firstRow">Which row of the pass the first row given is.</param>
    /// <param name="queryLength">Rows of the pass; null when the last row given is its last.</param>
    /// <param name="addsMass">Whether the sums are added to what columnMass holds.</param>
    /// <exception cref="ArgumentException">Shapes, types, devices or the integers of an operand do not fit one another.</exception>
    public static void Weights(
        TensorView query, TensorView key, TensorView lse, TensorView weights, TensorView columnMass, AttentionOptions? options = null,
        in AttentionInputs inputs = default, int firstRow = 0, int? queryLength = null, bool addsMass = false)
    {
        AttentionProblem forward = CreateProblem(query, key, key, options ?? AttentionOptions.Default, inputs);
        int rowCount = forward.QueryLength;
        if (firstRow < 0 || firstRow > int.MaxValue - rowCount)
            throw new ArgumentOutOfRangeException(nameof(firstRow), firstRow, "firstRow must be a row of the forward pass.");
        var problem = new AttentionWeightsProblem(forward with { QueryLength = queryLength ?? firstRow + rowCount }, firstRow, rowCount, addsMass);
        query.Storage!.Device.Run(WeightsOperation, problem, [
            query, key, default, default, lse, inputs.AlibiSlopes, inputs.Bias, inputs.Mask, inputs.BlockMask, default, inputs.HeadWindows,
            inputs.QueryOffsets, inputs.KvOffsets, inputs.KvLengths, inputs.PageTable, inputs.SlotBias, inputs.KeyScale, default, default,
            default, weights, columnMass]);
    }
}
