using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;
using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

/// <summary>
/// Attention that computes some of the pairs of a query row and a key. Which ones is a list for each row, whoever made it. Its results and
/// gradients are those of dense attention with the lists as its mask, for the pairs' share of the arithmetic; memory besides the operands
/// does not grow with the pairs.
/// </summary>
public static partial class SparseAttention
{
    /// <summary>Attention of query rows over the keys that each lists.</summary>
    public static Operation<SparseAttentionProblem> ForwardOperation { get; } = new(
        "sparse-attention-forward", "softmax(scale * Q K^T) V over a list of keys for each query row, with optional log-sum-exp",
        new SparseAttentionReference<double>("sparse-attention-forward/reference", DeviceKinds.Reference),
        new SparseAttentionReference<float>("sparse-attention-forward/plain", DeviceKinds.Cpu),
        new SparseAttentionForward<Simd512, Vector512<float>>(),
        new SparseAttentionForward<Simd256, Vector256<float>>(),
        new SparseAttentionForward<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new SparseAttentionForwardRows()] : [],
        Examples =
        [
            "q=1 k=1 d=1 keep=1", "h=2 q=33 k=65 d=64 keep=20", "b=2 h=6 kv=2 index=2 q=17 k=90 d=40 dv=24 keep=33",
            "h=4 kv=1 index=1 q=19 k=200 d=80 keep=64 bf16", "h=2 q=9 k=12 d=16 keep=30 softcap=10 columns=u16 f16", "q=5 k=0 d=8 keep=0",
        ],
        Benchmarks = ["h=8 q=4096 k=4096 d=64 keep=512", "h=8 q=8192 k=8192 d=64 keep=1024"],
    };

    /// <summary>Computes attention of each query row over the keys in its list. A row with an empty list has output 0 and lse −∞.</summary>
    /// <param name="query">[batchSize, queryLength, numHeads, headDim]</param>
    /// <param name="key">[batchSize, kvLength, numKvHeads, headDim]</param>
    /// <param name="value">[batchSize, kvLength, numKvHeads, valueHeadDim]</param>
    /// <param name="columns">
    /// i32, or u16 of up to 65536 keys, [batchSize, indexHeads, queryLength, capacity]: the keys of each row, ascending, each once; what
    /// lies past a row's count is not read. Head h reads the lists of head h div (numHeads / indexHeads).
    /// </param>
    /// <param name="counts">i32 [batchSize, indexHeads, queryLength]: how many keys each row lists</param>
    /// <param name="output">[batchSize, queryLength, numHeads, valueHeadDim], written</param>
    /// <param name="lse">Optional f32 [batchSize, numHeads, queryLength], written: natural log of the softmax denominator.</param>
    /// <param name="softmaxScale">Factor on query · key; null for 1/√headDim.</param>
    /// <param name="logitSoftCap">Scores x become softCap · tanh(x / softCap); 0 for no cap.</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a count is out of range or a list does not rise from 0 to
    /// kvLength − 1 at the most.
    /// </exception>
    public static void Forward(
        TensorView query, TensorView key, TensorView value, TensorView columns, TensorView counts, TensorView output,
        TensorView lse = default, float? softmaxScale = null, float logitSoftCap = 0f)
    {
        SparseAttentionProblem problem = CreateProblem(query, key, value, columns, softmaxScale, logitSoftCap);
        query.Storage!.Device.Run(ForwardOperation, problem, [query, key, value, columns, counts, output, lse]);
    }

    private static SparseAttentionProblem CreateProblem(
        TensorView query, TensorView key, TensorView value, TensorView columns, float? softmaxScale, float logitSoftCap)
    {
        Shapes.RequireRank(query, 4, nameof(query));
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        Shapes.RequireRank(columns, 4, nameof(columns));
        return new SparseAttentionProblem(
            Shapes.Size(query, 0, nameof(query)), Shapes.Size(query, 2, nameof(query)), Shapes.Size(key, 2, nameof(key)),
            Shapes.Size(columns, 1, nameof(columns)), Shapes.Size(query, 1, nameof(query)), Shapes.Size(key, 1, nameof(key)),
            Shapes.Size(query, 3, nameof(query)), Shapes.Size(value, 3, nameof(value)), Shapes.Size(columns, 3, nameof(columns)),
            softmaxScale, query.Type)
        {
            LogitSoftCap = logitSoftCap,
            ColumnType = columns.Type,
        };
    }
}
