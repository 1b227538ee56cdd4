using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

public static partial class KvCells
{
    /// <summary>Kept slots moved together, in place.</summary>
    public static Operation<KvCacheCompactProblem> CompactOperation { get; } = new(
        "kv-cache-compact", "moves the kept slots of each cell together in place: keys, values and scales",
        new KvCacheCompactReference("kv-cache-compact/reference", DeviceKinds.Reference),
        new KvCacheCompactReference("kv-cache-compact/plain", DeviceKinds.Cpu),
        new KvCacheCompact())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheCompactRows()] : [],
        Examples =
        [
            "n=1 page=1 pool=1 d=1", "cells=3 n=64 page=8 pool=30 d=40 dv=24", "cells=2 n=60 page=20 pool=6 d=33 bf16",
            "cells=2 n=64 page=16 pool=8 d=16 f16", "cells=2 n=48 page=16 pool=7 d=64 dv=7 i8", "cells=0 n=8 page=4 pool=0 d=8",
        ],
        Benchmarks = ["cells=8 n=4096 page=32 pool=1024 d=128 bf16", "cells=8 n=32768 page=32 pool=8192 d=128 bf16"],
    };

    /// <summary>
    /// Moves slots within each cell: slot j becomes the old slot kept[cell, j] for j below keptCounts[cell], in place. The other
    /// slots keep what they hold. Pages of different cells must differ.
    /// </summary>
    /// <param name="key">[poolPages, pageSize, 1, headDim], rows of it moved</param>
    /// <param name="value">[poolPages, pageSize, 1, valueHeadDim], likewise</param>
    /// <param name="pageTable">i32 [cells, pages]: slot j is row j mod pageSize of page pageTable[cell, j / pageSize]</param>
    /// <param name="kept">i32 [cells, pages · pageSize]: kept[cell, j] ≥ j, as <see cref="Select"/> gives them</param>
    /// <param name="keptCounts">i32 [cells]</param>
    /// <param name="keyScale">f32 [poolPages, 1, pageSize]: the scales of i8 keys, moved along</param>
    /// <param name="valueScale">f32 [poolPages, 1, pageSize]: those of i8 values</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a slot comes from a lower one or a slot or page is
    /// out of range.
    /// </exception>
    public static void Compact(
        TensorView key, TensorView value, TensorView pageTable, TensorView kept, TensorView keptCounts,
        TensorView keyScale = default, TensorView valueScale = default)
    {
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        Shapes.RequireRank(kept, 2, nameof(kept));
        var problem = new KvCacheCompactProblem(
            Shapes.Size(kept, 0, nameof(kept)), Shapes.Size(kept, 1, nameof(kept)), Shapes.Size(key, 1, nameof(key)),
            Shapes.Size(key, 0, nameof(key)), Shapes.Size(key, 3, nameof(key)), Shapes.Size(value, 3, nameof(value)), key.Type);
        key.Storage!.Device.Run(CompactOperation, problem, [key, value, pageTable, kept, keptCounts, keyScale, valueScale]);
    }
}
