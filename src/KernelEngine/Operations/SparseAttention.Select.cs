using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

public static partial class SparseAttention
{
    /// <summary>The keys with the most codes in common with a query, exactly.</summary>
    public static Operation<SparseSelectProblem> SelectOperation { get; } = new(
        "sparse-select", "for each query row the keys with the most codes in common, exactly; of equals the later",
        new SparseSelectReference("sparse-select/reference", DeviceKinds.Reference),
        new SparseSelectReference("sparse-select/plain", DeviceKinds.Cpu),
        new SparseSelect())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new SparseSelectKeys()] : [],
        Examples =
        [
            "q=1 m=1 l=1", "b=2 h=4 kv=2 q=70 m=8 l=16 causal recent=1", "h=4 kv=2 q=40 k=90 m=10 l=20 causal grouped", "q=50 m=16 l=9 earliest",
            "b=3 h=2 q=20 k=130 m=8 l=30 causal sinks=4 recent=8 lengths columns=u16", "q=0 k=9 m=8 l=4",
        ],
        Benchmarks = ["h=8 q=8192 m=8 l=1024 causal recent=1", "h=8 kv=2 q=8192 m=16 l=1024 causal recent=1 grouped"],
    };

    /// <summary>Writes for each query row the keys to look at, as sparse attention reads them: <see cref="SparseSelectProblem"/> says which.</summary>
    /// <param name="queryCodes">i32 [batchSize, numHeads, queryLength, words], from <see cref="Encode"/></param>
    /// <param name="keyCodes">i32 [batchSize, numKvHeads, kvLength, words], from <see cref="Encode"/> with the same codebook</param>
    /// <param name="columns">
    /// i32, or u16 of up to 65536 keys, [batchSize, indexHeads, queryLength, capacity], written: ascending keys, −1 or 65535 past the
    /// count. With numHeads index heads each has a list; with numKvHeads the query heads of a group share one, by the sum of their match
    /// counts.
    /// </param>
    /// <param name="counts">i32 [batchSize, indexHeads, queryLength], written: min(capacity, keys seen)</param>
    /// <param name="subVectors">Codes of a row: dimension 0 of the codebook.</param>
    /// <param name="options">Causality, ties, and keys that are always kept.</param>
    /// <param name="kvLengths">i32 [batchSize]: the keys in use of each sequence; default for all</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or, on the host's devices, a length is out of range.</exception>
    public static void Select(
        TensorView queryCodes, TensorView keyCodes, TensorView columns, TensorView counts, int subVectors, SparseSelectOptions? options = null,
        TensorView kvLengths = default)
    {
        Shapes.RequireRank(queryCodes, 4, nameof(queryCodes));
        Shapes.RequireRank(keyCodes, 4, nameof(keyCodes));
        Shapes.RequireRank(columns, 4, nameof(columns));
        options ??= SparseSelectOptions.Default;
        int heads = Shapes.Size(queryCodes, 1, nameof(queryCodes)), kvHeads = Shapes.Size(keyCodes, 1, nameof(keyCodes));
        var problem = new SparseSelectProblem(
            Shapes.Size(queryCodes, 0, nameof(queryCodes)), heads, kvHeads, Shapes.Size(queryCodes, 2, nameof(queryCodes)),
            Shapes.Size(keyCodes, 2, nameof(keyCodes)), subVectors, Shapes.Size(columns, 3, nameof(columns)), options.IsCausal, options.KeepsEarliest,
            options.Sinks, options.Recent, kvLengths.IsPresent, IsGrouped: heads != kvHeads && columns[1] == kvHeads)
        {
            ColumnType = columns.Type,
        };
        queryCodes.Storage!.Device.Run(SelectOperation, problem, [queryCodes, keyCodes, kvLengths, columns, counts]);
    }
}
