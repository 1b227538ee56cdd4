using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class KvCells
{
    /// <summary>Slots merged into others.</summary>
    public static Operation<KvCacheMergeProblem> MergeOperation { get; } = new(
        "kv-cache-merge", "weighted means of slots of each cell, in place; keys as they are or by their directions",
        new KvCacheMergeReference<double>("kv-cache-merge/reference", DeviceKinds.Reference),
        new KvCacheMergeReference<float>("kv-cache-merge/plain", DeviceKinds.Cpu),
        new KvCacheMerge<Simd512, Vector512<float>>(),
        new KvCacheMerge<Simd256, Vector256<float>>(),
        new KvCacheMerge<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheMergeRows()] : [],
        Examples =
        [
            "n=4 page=4 pool=1 d=8", "cells=3 n=40 page=8 pool=20 d=40 dv=24", "cells=2 n=30 page=10 pool=7 d=66 directions",
            "cells=2 n=32 page=16 pool=4 d=64 bf16", "cells=2 n=12 page=4 pool=9 d=200 directions f16", "n=0 page=4 pool=1 d=8",
        ],
        Benchmarks = ["cells=8 n=8192 page=32 pool=2048 d=128", "cells=8 n=8192 page=32 pool=2048 d=128 directions"],
    };

    /// <summary>Merges each slot t with a target into slot targets[cell, t]; what a target is then says <see cref="KvCacheMergeProblem"/>.</summary>
    /// <param name="key">[poolPages, pageSize, 1, headDim], overwritten where slots are merged</param>
    /// <param name="value">[poolPages, pageSize, 1, valueHeadDim], likewise</param>
    /// <param name="pageTable">i32 [cells, pages]</param>
    /// <param name="lengths">i32 [cells]: slots in use</param>
    /// <param name="targets">i32 [cells, pages · pageSize]: a slot that is not merged itself, or −1</param>
    /// <param name="weights">f32 [cells, pages · pageSize], finite and not negative; those of targets become the sums</param>
    /// <param name="isByDirection">Average the directions of keys and keep their lengths.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or, on the host's devices, an index or weight is out of range.</exception>
    public static void Merge(
        TensorView key, TensorView value, TensorView pageTable, TensorView lengths, TensorView targets, TensorView weights, bool isByDirection = false)
    {
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        Shapes.RequireRank(targets, 2, nameof(targets));
        var problem = new KvCacheMergeProblem(
            Shapes.Size(targets, 0, nameof(targets)), Shapes.Size(targets, 1, nameof(targets)), Shapes.Size(key, 1, nameof(key)),
            Shapes.Size(key, 0, nameof(key)), Shapes.Size(key, 3, nameof(key)), Shapes.Size(value, 3, nameof(value)), isByDirection, key.Type);
        key.Storage!.Device.Run(MergeOperation, problem, [key, value, pageTable, lengths, targets, weights]);
    }
}
