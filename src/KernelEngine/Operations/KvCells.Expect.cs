using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class KvCells
{
    /// <summary>Scores by the attention that queries to come are expected to pay.</summary>
    public static Operation<KvCacheExpectProblem> ExpectOperation { get; } = new(
        "kv-cache-expect",
        "scores of slots: softmax(scale k.mean + scale^2/2 k.covariance.k), mean over the group, times the norm of the value",
        new KvCacheExpectReference<double>("kv-cache-expect/reference", DeviceKinds.Reference),
        new KvCacheExpectReference<float>("kv-cache-expect/plain", DeviceKinds.Cpu),
        new KvCacheExpect<Simd512, Vector512<float>>(),
        new KvCacheExpect<Simd256, Vector256<float>>(),
        new KvCacheExpect<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheExpectSlots()] : [],
        Examples =
        [
            "n=1 page=1 pool=1 d=1", "h=4 cells=2 n=40 page=8 pool=12 d=20 dv=12 sinks=4", "h=3 n=60 page=20 pool=3 d=33 eps=0.01 bf16",
            "h=2 cells=2 n=32 page=16 pool=4 d=16 scale=0.5 f16", "h=2 n=48 page=16 pool=4 d=32 dv=7 i8", "cells=0 n=8 page=4 pool=0 d=8",
        ],
        Benchmarks = ["h=32 cells=8 n=4096 page=32 pool=1024 d=128 sinks=4 bf16"],
    };

    /// <summary>
    /// Scores slots by the attention that queries to come are expected to pay them: (mean over a cell's query heads of
    /// softmax(scale · k·μ + scale² / 2 · kᵀ Σ k) + epsilon) · ‖v‖. The first slots are protected, +∞, and slots from the length on are −∞.
    /// </summary>
    /// <param name="queryMean">f32 [numHeads, headDim]: μ, turned to the positions to come</param>
    /// <param name="queryCovariance">f32 [numHeads, headDim, headDim]: Σ, likewise</param>
    /// <param name="key">[poolPages, pageSize, 1, headDim]</param>
    /// <param name="value">[poolPages, pageSize, 1, valueHeadDim]</param>
    /// <param name="pageTable">i32 [cells, pages]: slot j is row j mod pageSize of page pageTable[cell, j / pageSize]</param>
    /// <param name="lengths">i32 [cells]: how many of a cell's slots are in use</param>
    /// <param name="scores">f32 [cells, pages · pageSize], written</param>
    /// <param name="softmaxScale">Factor on query · key; null for 1/√headDim.</param>
    /// <param name="epsilon">Added to the attention of every slot.</param>
    /// <param name="sinkCount">First slots that are protected; the softmax passes them over.</param>
    /// <param name="keyScale">f32 [poolPages, 1, pageSize]: the scales of i8 keys</param>
    /// <param name="valueScale">f32 [poolPages, 1, pageSize]: those of i8 values</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a length or page is out of range.
    /// </exception>
    public static void Expect(
        TensorView queryMean, TensorView queryCovariance, TensorView key, TensorView value, TensorView pageTable, TensorView lengths,
        TensorView scores, float? softmaxScale = null, float epsilon = 0f, int sinkCount = 0, TensorView keyScale = default,
        TensorView valueScale = default)
    {
        Shapes.RequireRank(queryMean, 2, nameof(queryMean));
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        Shapes.RequireRank(pageTable, 2, nameof(pageTable));
        int pageSize = Shapes.Size(key, 1, nameof(key)), headDim = Shapes.Size(key, 3, nameof(key));
        var problem = new KvCacheExpectProblem(
            Shapes.Size(queryMean, 0, nameof(queryMean)), Shapes.Size(pageTable, 0, nameof(pageTable)), SlotsOf(pageTable, pageSize),
            pageSize, Shapes.Size(key, 0, nameof(key)), headDim, Shapes.Size(value, 3, nameof(value)),
            softmaxScale ?? 1f / MathF.Sqrt(headDim), epsilon, sinkCount, key.Type);
        key.Storage!.Device.Run(
            ExpectOperation, problem, [queryMean, queryCovariance, key, value, pageTable, lengths, scores, keyScale, valueScale]);
    }
}
