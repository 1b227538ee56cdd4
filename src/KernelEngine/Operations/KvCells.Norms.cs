using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class KvCells
{
    /// <summary>Norms of stored keys and values.</summary>
    public static Operation<KvCacheNormsProblem> NormsOperation { get; } = new(
        "kv-cache-norms", "L2 norms of the keys and values in each slot of a cache",
        new KvCacheNormsReference<double>("kv-cache-norms/reference", DeviceKinds.Reference),
        new KvCacheNormsReference<float>("kv-cache-norms/plain", DeviceKinds.Cpu),
        new KvCacheNorms<Simd512, Vector512<float>>(),
        new KvCacheNorms<Simd256, Vector256<float>>(),
        new KvCacheNorms<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheNormsRows()] : [],
        Examples =
        [
            "n=1 page=1 pool=1 d=1", "cells=3 n=64 page=8 pool=30 d=40 dv=24", "cells=2 n=60 page=20 pool=6 d=33 bf16",
            "cells=2 n=64 page=16 pool=8 d=16 f16", "cells=2 n=48 page=16 pool=7 d=64 dv=7 i8", "cells=0 n=8 page=4 pool=0 d=8",
        ],
        Benchmarks = ["cells=8 n=4096 page=32 pool=1024 d=128 bf16", "cells=8 n=32768 page=32 pool=8192 d=128 bf16"],
    };

    /// <summary>Computes the L2 norm of the key and of the value in each slot; 0 in slots from a cell's length on.</summary>
    /// <param name="key">[poolPages, pageSize, 1, headDim]</param>
    /// <param name="value">[poolPages, pageSize, 1, valueHeadDim]</param>
    /// <param name="pageTable">i32 [cells, pages]: slot j is row j mod pageSize of page pageTable[cell, j / pageSize]</param>
    /// <param name="lengths">i32 [cells]: how many of a cell's slots are in use</param>
    /// <param name="keyNorms">f32 [cells, pages · pageSize], written; default for none</param>
    /// <param name="valueNorms">f32 [cells, pages · pageSize], written; default for none</param>
    /// <param name="keyScale">f32 [poolPages, 1, pageSize]: the scales of i8 keys</param>
    /// <param name="valueScale">f32 [poolPages, 1, pageSize]: those of i8 values</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a length or page is out of range.
    /// </exception>
    public static void Norms(
        TensorView key, TensorView value, TensorView pageTable, TensorView lengths, TensorView keyNorms, TensorView valueNorms = default,
        TensorView keyScale = default, TensorView valueScale = default)
    {
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        Shapes.RequireRank(pageTable, 2, nameof(pageTable));
        int pageSize = Shapes.Size(key, 1, nameof(key));
        var problem = new KvCacheNormsProblem(
            Shapes.Size(pageTable, 0, nameof(pageTable)), SlotsOf(pageTable, pageSize), pageSize, Shapes.Size(key, 0, nameof(key)),
            Shapes.Size(key, 3, nameof(key)), Shapes.Size(value, 3, nameof(value)), key.Type);
        key.Storage!.Device.Run(NormsOperation, problem, [key, value, pageTable, lengths, keyNorms, valueNorms, keyScale, valueScale]);
    }

    // How many slots a row of the page table has room for.
    internal static int SlotsOf(in TensorView pageTable, int pageSize) => pageTable[1] <= int.MaxValue / Math.Max(1, pageSize)
        ? (int)pageTable[1] * pageSize
        : throw new ArgumentException(
            $"pageTable must have room for at most {int.MaxValue} slots but has {pageTable[1]} pages of {pageSize}.", nameof(pageTable));
}
