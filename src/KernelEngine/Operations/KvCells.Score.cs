using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class KvCells
{
    /// <summary>Scores from attention: aggregated over a group, smoothed, sinks and recent slots protected.</summary>
    public static Operation<KvCacheScoreProblem> ScoreOperation { get; } = new(
        "kv-cache-score",
        "scores of slots: column mass aggregated over the heads of a group and smoothed; sinks and recent slots +infinity",
        new KvCacheScoreReference<double>("kv-cache-score/reference", DeviceKinds.Reference),
        new KvCacheScoreReference<float>("kv-cache-score/plain", DeviceKinds.Cpu),
        new KvCacheScore<Simd512, Vector512<float>>(),
        new KvCacheScore<Simd256, Vector256<float>>(),
        new KvCacheScore<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheScoreSlots()] : [],
        Examples =
        [
            "n=1", "h=8 cells=2 n=300 pool=avg5 sinks=4 recent=32 scale=0.03125", "h=6 cells=2 n=67 agg=max pool=max7",
            "h=4 cells=4 n=130 agg=sum scale=-1",
            "h=3 n=40 pool=avg51 recent=3", "h=2 n=0", "h=0 cells=0 n=8",
        ],
        Benchmarks = ["h=32 cells=8 n=4096 pool=max7 sinks=4 recent=32", "h=32 cells=8 n=32768 pool=avg5 recent=32"],
    };

    /// <summary>
    /// Scores slots by the attention they got: the heads of a cell's group are aggregated, scaled and smoothed over neighbours. Protected
    /// slots score +∞ and those from the length on −∞. With one head a cell it does the same to any numbers, such as
    /// <see cref="Norms"/>.
    /// </summary>
    /// <param name="columnMass">f32 [numHeads, slots]: what <see cref="Attention.Weights"/> sums over query rows</param>
    /// <param name="lengths">i32 [cells]: how many of a cell's slots are in use</param>
    /// <param name="scores">f32 [cells, slots], written</param>
    /// <param name="options">Null for the mean alone.</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types, devices or options do not fit one another, or, on the host's devices, a length is out of range.
    /// </exception>
    public static void Score(TensorView columnMass, TensorView lengths, TensorView scores, KvScoreOptions? options = null)
    {
        Shapes.RequireRank(columnMass, 2, nameof(columnMass));
        Shapes.RequireRank(scores, 2, nameof(scores));
        options ??= KvScoreOptions.Default;
        var problem = new KvCacheScoreProblem(
            Shapes.Size(columnMass, 0, nameof(columnMass)), Shapes.Size(scores, 0, nameof(scores)), Shapes.Size(scores, 1, nameof(scores)),
            options.Aggregate, options.Pooling, options.PoolSize, options.SinkCount, options.RecentCount, options.Scale);
        columnMass.Storage!.Device.Run(ScoreOperation, problem, [columnMass, lengths, scores]);
    }
}
