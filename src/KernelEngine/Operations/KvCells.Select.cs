using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// What is done to the cells of a cache, each of one key/value head of a layer with a length of its own: slots are scored, chosen and
/// moved together. The cells of a layer share two pools of pages; slot j of a cell is row j mod pageSize of page table[cell, j / pageSize].
/// </summary>
public static partial class KvCells
{
    /// <summary>The slots with the highest scores, exactly.</summary>
    public static Operation<KvCacheSelectProblem> SelectOperation { get; } = new(
        "kv-cache-select",
        "the slots of each cell with the highest scores, or of all cells together; of equals the later, +infinity always",
        new KvCacheSelectReference("kv-cache-select/reference", DeviceKinds.Reference),
        new KvCacheSelectReference("kv-cache-select/plain", DeviceKinds.Cpu),
        new KvCacheSelect())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheSelectCells()] : [],
        Examples = ["n=1", "cells=3 n=67", "cells=5 n=300 pooled", "cells=2 n=0", "cells=0 n=8 pooled"],
        Benchmarks = ["cells=8 n=4096", "cells=8 n=32768", "cells=8 n=32768 pooled"],
    };

    /// <summary>
    /// Chooses the slots to keep: of each cell the <paramref name="budgets"/> highest scores; equal scores: the larger slot first, then
    /// the lower cell; NaN counts as −∞. A score of +∞ is kept whatever the budget.
    /// </summary>
    /// <param name="scores">f32 [cells, slots]</param>
    /// <param name="lengths">i32 [cells]: how many of a cell's slots are in use</param>
    /// <param name="budgets">i32 [cells]: how many to keep; not negative</param>
    /// <param name="kept">i32 [cells, slots], written: ascending slots, −1 after the last</param>
    /// <param name="keptCounts">i32 [cells], written</param>
    /// <param name="isPooled">The cells share their budgets: the highest scores of all are kept.</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a length or budget is out of range.
    /// </exception>
    public static void Select(
        TensorView scores, TensorView lengths, TensorView budgets, TensorView kept, TensorView keptCounts, bool isPooled = false)
    {
        Shapes.RequireRank(scores, 2, nameof(scores));
        var problem = new KvCacheSelectProblem(Shapes.Size(scores, 0, nameof(scores)), Shapes.Size(scores, 1, nameof(scores)), isPooled);
        scores.Storage!.Device.Run(SelectOperation, problem, [scores, lengths, budgets, kept, keptCounts]);
    }
}
