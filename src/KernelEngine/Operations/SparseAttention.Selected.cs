using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;
using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

public static partial class SparseAttention
{
    /// <summary>Attention of query rows over the keys with the most codes in common, without lists.</summary>
    public static Operation<SelectedAttentionProblem> SelectedOperation { get; } = new(
        "sparse-attention-selected", "attention over the keys with the most codes in common, chosen on the way: sparse-select and sparse-attention-forward in one",
        new SelectedAttentionReference<double>("sparse-attention-selected/reference", DeviceKinds.Reference),
        new SelectedAttentionReference<float>("sparse-attention-selected/plain", DeviceKinds.Cpu),
        new SelectedAttentionForward<Simd512, Vector512<float>>(),
        new SelectedAttentionForward<Simd256, Vector256<float>>(),
        new SelectedAttentionForward<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new SelectedAttentionRows()] : [],
        Examples =
        [
            "q=1 m=1 l=1 d=1", "b=2 h=6 kv=2 q=70 m=8 l=16 causal recent=1 d=64", "h=4 kv=2 q=40 k=90 m=10 l=20 causal grouped d=40 dv=24 bf16",
            "b=3 h=2 q=20 k=130 m=8 l=30 causal sinks=4 lengths columns=u16 d=16 softcap=10", "q=5 k=0 m=8 l=4 d=8",
        ],
        Benchmarks =
        [
            "h=8 q=4096 m=8 l=512 causal recent=1 columns=u16 d=64", "h=8 q=8192 m=8 l=1024 causal recent=1 columns=u16 d=64",
        ],
    };

    /// <summary>
    /// Computes attention of each query row over the keys that <see cref="Select"/> would list for it, without lists: their memory and the time
    /// to write and read them are saved. Training needs lists, since gradients are those of the keys that were seen.
    /// </summary>
    /// <param name="query">[batchSize, queryLength, numHeads, headDim]</param>
    /// <param name="key">[batchSize, kvLength, numKvHeads, headDim]</param>
    /// <param name="value">[batchSize, kvLength, numKvHeads, valueHeadDim]</param>
    /// <param name="queryCodes">i32 [batchSize, numHeads, queryLength, words], from <see cref="Encode"/></param>
    /// <param name="keyCodes">i32 [batchSize, numKvHeads, kvLength, words], from <see cref="Encode"/> with the same codebook</param>
    /// <param name="output">[batchSize, queryLength, numHeads, valueHeadDim], written</param>
    /// <param name="subVectors">Codes of a row: dimension 0 of the codebook.</param>
    /// <param name="capacity">The most keys that a row sees.</param>
    /// <param name="options">Causality, ties, and keys that are always kept.</param>
    /// <param name="isGrouped">Whether the query heads of a key/value head see the same keys, by the sum of their match counts.</param>
    /// <param name="kvLengths">i32 [batchSize]: the keys in use of each sequence; default for all</param>
    /// <param name="lse">Optional f32 [batchSize, numHeads, queryLength], written: natural log of the softmax denominator.</param>
    /// <param name="softmaxScale">Factor on query · key; null for 1/√headDim.</param>
    /// <param name="logitSoftCap">Scores x become softCap · tanh(x / softCap); 0 for no cap.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or, on the host's devices, a length is out of range.</exception>
    public static void ForwardSelected(
        TensorView query, TensorView key, TensorView value, TensorView queryCodes, TensorView keyCodes, TensorView output, int subVectors, int capacity,
        SparseSelectOptions? options = null, bool isGrouped = false, TensorView kvLengths = default, TensorView lse = default,
        float? softmaxScale = null, float logitSoftCap = 0f)
    {
        Shapes.RequireRank(query, 4, nameof(query));
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        options ??= SparseSelectOptions.Default;
        int kvLength = Shapes.Size(key, 1, nameof(key));
        var selection = new SparseSelectProblem(
            Shapes.Size(query, 0, nameof(query)), Shapes.Size(query, 2, nameof(query)), Shapes.Size(key, 2, nameof(key)),
            Shapes.Size(query, 1, nameof(query)), kvLength, subVectors, capacity, options.IsCausal, options.KeepsEarliest, options.Sinks, options.Recent,
            kvLengths.IsPresent, isGrouped)
        {
            ColumnType = SparseSelectProblem.NarrowestColumns(kvLength),
        };
        var problem = new SelectedAttentionProblem(
            selection, Shapes.Size(query, 3, nameof(query)), Shapes.Size(value, 3, nameof(value)), softmaxScale, query.Type)
        {
            LogitSoftCap = logitSoftCap,
        };
        query.Storage!.Device.Run(SelectedOperation, problem, [query, key, value, queryCodes, keyCodes, kvLengths, output, lse]);
    }
}
