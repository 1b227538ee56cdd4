using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>The code of <see cref="RowNorms"/> for every storage, and its launch.</summary>
internal sealed class RowNormsEntries
{
    private readonly GpuEntry<RowNorms.Parameters<float>> _float32 = CreateEntry<float, Float32Storage>();
    private readonly GpuEntry<RowNorms.Parameters<ushort>> _float16 = CreateEntry<ushort, Float16Storage>();
    private readonly GpuEntry<RowNorms.Parameters<ushort>> _bFloat16 = CreateEntry<ushort, BFloat16Storage>();

    // Four bytes are one word.
    private readonly GpuEntry<RowNorms.Parameters<sbyte>> _int8 = CreateEntry<sbyte, Int8Storage>(hasQuadLoads: false);

    /// <summary>The code.</summary>
    public IReadOnlyList<GpuEntry> All => [_float32, _float16, _bFloat16, _int8];

    /// <summary>Queues the norms [cells, slots] of the rows of a pool of pages.</summary>
    public void Launch(in GpuView rows, in GpuView scales, in GpuView norms, in GpuView pageTable, in GpuView lengths, GpuDevice device)
    {
        switch (rows.Type)
        {
            case DataType.Float32:
                Launch(_float32, rows, scales, norms, pageTable, lengths, device);
                break;
            case DataType.Float16:
                Launch(_float16, rows, scales, norms, pageTable, lengths, device);
                break;
            case DataType.Int8:
                Launch(_int8, rows, scales, norms, pageTable, lengths, device);
                break;
            default:
                Launch(_bFloat16, rows, scales, norms, pageTable, lengths, device);
                break;
        }
    }

    private static GpuEntry<RowNorms.Parameters<T>> CreateEntry<T, TStorage>(bool hasQuadLoads = true)
        where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(RowNorms.MeasureRows<T, TStorage>, RowNorms.Threads, RowNorms.SharedBytes, hasQuadLoads);

    private static void Launch<T>(
        GpuEntry<RowNorms.Parameters<T>> entry, in GpuView rows, in GpuView scales, in GpuView norms, in GpuView pageTable,
        in GpuView lengths, GpuDevice device) where T : unmanaged
    {
        long cells = norms.Layout[0], slots = norms.Layout[1], groups = (slots + RowNorms.SlotsOfGroup - 1) / RowNorms.SlotsOfGroup;
        device.Launch(entry, cells * groups, new RowNorms.Parameters<T>
        {
            Rows = rows.AsTokens<T>(),
            // What is absent is never read: the argument needs some memory all the same.
            Scales = (scales.IsPresent ? scales : norms).AsMatrix<float>(),
            Norms = norms.AsMatrix<float>(),
            PageTable = pageTable.AsMatrix<int>(),
            Lengths = lengths.As<int>(),
            Slots = (int)slots,
            GroupsOfCell = (int)groups,
            PageSize = (int)rows.Layout[1],
            Size = (int)rows.Layout[3],
            HasScales = scales.IsPresent ? 1 : 0,
        });
    }
}
