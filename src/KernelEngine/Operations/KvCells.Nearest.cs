using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class KvCells
{
    /// <summary>The centre that each candidate slot is most like.</summary>
    public static Operation<KvCacheNearestProblem> NearestOperation { get; } = new(
        "kv-cache-nearest", "for each candidate slot the centre whose key and value point the same way most",
        new KvCacheNearestReference<double>("kv-cache-nearest/reference", DeviceKinds.Reference),
        new KvCacheNearestReference<float>("kv-cache-nearest/plain", DeviceKinds.Cpu),
        new KvCacheNearest<Simd512, Vector512<float>>(),
        new KvCacheNearest<Simd256, Vector256<float>>(),
        new KvCacheNearest<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheNearestRows()] : [],
        Examples =
        [
            "n=4 page=4 pool=1 d=8", "cells=3 n=40 page=8 pool=20 d=40 dv=24 tau=0.1", "cells=2 n=30 page=10 pool=7 d=66",
            "cells=2 n=32 page=16 pool=4 d=64 bf16", "cells=2 n=12 page=4 pool=9 d=200 tau=2 f16", "n=0 page=4 pool=1 d=8",
        ],
        Benchmarks = ["cells=8 n=1024 page=32 pool=256 d=128"],
    };

    /// <summary>Finds for each candidate slot of each cell the most similar centre: <see cref="KvCacheNearestProblem"/> says what that is.</summary>
    /// <param name="key">[poolPages, pageSize, 1, headDim]</param>
    /// <param name="value">[poolPages, pageSize, 1, valueHeadDim]</param>
    /// <param name="pageTable">i32 [cells, pages]</param>
    /// <param name="centres">i32 [cells, pages · pageSize]: slots</param>
    /// <param name="centreCounts">i32 [cells]: how many of them count</param>
    /// <param name="candidates">i32 [cells, pages · pageSize]: slots</param>
    /// <param name="candidateCounts">i32 [cells]: how many of them count</param>
    /// <param name="nearest">i32 [cells, pages · pageSize], written: for each candidate the slot of its centre, or −1</param>
    /// <param name="similarity">f32 [cells, pages · pageSize], written: 0 to 1</param>
    /// <param name="threshold">Similarity below which no centre is near.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or, on the host's devices, a count or slot is out of range.</exception>
    public static void Nearest(
        TensorView key, TensorView value, TensorView pageTable, TensorView centres, TensorView centreCounts, TensorView candidates,
        TensorView candidateCounts, TensorView nearest, TensorView similarity, float threshold = 0f)
    {
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        Shapes.RequireRank(centres, 2, nameof(centres));
        var problem = new KvCacheNearestProblem(
            Shapes.Size(centres, 0, nameof(centres)), Shapes.Size(centres, 1, nameof(centres)), Shapes.Size(key, 1, nameof(key)),
            Shapes.Size(key, 0, nameof(key)), Shapes.Size(key, 3, nameof(key)), Shapes.Size(value, 3, nameof(value)), threshold, key.Type);
        key.Storage!.Device.Run(
            NearestOperation, problem, [key, value, pageTable, centres, centreCounts, candidates, candidateCounts, nearest, similarity]);
    }
}
