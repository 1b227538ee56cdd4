using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class KvCells
{
    /// <summary>Stored keys turned on to other positions.</summary>
    public static Operation<KvCacheRotateProblem> RotateOperation { get; } = new(
        "kv-cache-rotate", "turns the stored keys of each cell on by positions of their own, in place or into a copy",
        new KvCacheRotateReference<double>("kv-cache-rotate/reference", DeviceKinds.Reference),
        new KvCacheRotateReference<float>("kv-cache-rotate/plain", DeviceKinds.Cpu),
        new KvCacheRotate<Simd512, Vector512<float>>(),
        new KvCacheRotate<Simd256, Vector256<float>>(),
        new KvCacheRotate<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheRotateRows()] : [],
        Examples =
        [
            "n=4 page=4 pool=1 d=8", "cells=3 n=40 page=8 pool=20 d=40 rd=16", "cells=2 n=30 page=10 pool=7 d=66 interleaved copy",
            "cells=2 n=32 page=16 pool=4 d=64 bf16", "cells=2 n=12 page=4 pool=9 d=48 rd=0 copy f16", "cells=1 n=0 page=4 pool=1 d=8 maxpos=1",
        ],
        Benchmarks = ["cells=8 n=8192 page=32 pool=2048 d=128", "cells=8 n=8192 page=32 pool=2048 d=128 copy"],
    };

    /// <summary>Turns the key of each slot on by steps[cell, slot] positions, backwards if negative.</summary>
    /// <param name="target">[poolPages, pageSize, 1, headDim]: the keys, or where the turned copy goes</param>
    /// <param name="pageTable">i32 [cells, pages]</param>
    /// <param name="lengths">i32 [cells]: slots in use; the others keep what they hold</param>
    /// <param name="steps">i32 [cells, pages · pageSize]</param>
    /// <param name="cos">f32 [maxPosition, rotaryDim / 2], as <see cref="RotaryTables"/> makes it; every step is shorter than maxPosition</param>
    /// <param name="sin">f32 [maxPosition, rotaryDim / 2]</param>
    /// <param name="isInterleaved">Rotary pairs are neighbours (2i, 2i + 1); else (i, i + rotaryDim / 2).</param>
    /// <param name="source">The keys to copy, shaped as the target; the default to turn the target in place</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or, on the host's devices, a length, page or step is out of range.</exception>
    public static void Rotate(
        TensorView target, TensorView pageTable, TensorView lengths, TensorView steps, TensorView cos, TensorView sin, bool isInterleaved = false,
        TensorView source = default)
    {
        Shapes.RequireRank(target, 4, nameof(target));
        Shapes.RequireRank(steps, 2, nameof(steps));
        Shapes.RequireRank(cos, 2, nameof(cos));
        if (cos[1] > target[3] / 2)
            throw new ArgumentException($"cos must have at most {target[3] / 2} columns, one for two elements of a key, but has {cos[1]}.", nameof(cos));
        var problem = new KvCacheRotateProblem(
            Shapes.Size(steps, 0, nameof(steps)), Shapes.Size(steps, 1, nameof(steps)), Shapes.Size(target, 1, nameof(target)),
            Shapes.Size(target, 0, nameof(target)), Shapes.Size(target, 3, nameof(target)), 2 * Shapes.Size(cos, 1, nameof(cos)),
            Shapes.Size(cos, 0, nameof(cos)), isInterleaved, source.IsPresent, target.Type);
        target.Storage!.Device.Run(RotateOperation, problem, [target, pageTable, lengths, steps, cos, sin, source]);
    }
}
