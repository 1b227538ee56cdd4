using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="RowNorms"/> for keys and for values.</summary>
internal sealed class KvCacheNormsRows() : GpuKernel<KvCacheNormsProblem>("kv-cache-norms/ilgpu")
{
    private readonly GpuEntry<RowNorms.Parameters<float>> _float32 = CreateEntry<float, Float32Storage>();
    private readonly GpuEntry<RowNorms.Parameters<ushort>> _float16 = CreateEntry<ushort, Float16Storage>();
    private readonly GpuEntry<RowNorms.Parameters<ushort>> _bFloat16 = CreateEntry<ushort, BFloat16Storage>();
    private readonly GpuEntry<RowNorms.Parameters<sbyte>> _int8 = CreateEntry<sbyte, Int8Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bFloat16, _int8];

    /// <inheritdoc/>
    public override void Launch(in KvCacheNormsProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        Launch(problem, operands, KvCacheNormsProblem.Key, KvCacheNormsProblem.KeyScale, KvCacheNormsProblem.KeyNorms, device);
        Launch(problem, operands, KvCacheNormsProblem.Value, KvCacheNormsProblem.ValueScale, KvCacheNormsProblem.ValueNorms, device);
    }

    private static GpuEntry<RowNorms.Parameters<T>> CreateEntry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(RowNorms.MeasureRows<T, TStorage>, RowNorms.Threads, RowNorms.SharedBytes);

    private void Launch(in KvCacheNormsProblem problem, ReadOnlySpan<GpuView> operands, int rows, int scales, int norms, GpuDevice device)
    {
        if (!operands[norms].IsPresent || problem.Slots == 0)
            return;
        switch (problem.Type)
        {
            case DataType.Float32:
                Launch(_float32, problem, operands, rows, scales, norms, device);
                break;
            case DataType.Float16:
                Launch(_float16, problem, operands, rows, scales, norms, device);
                break;
            case DataType.Int8:
                Launch(_int8, problem, operands, rows, scales, norms, device);
                break;
            default:
                Launch(_bFloat16, problem, operands, rows, scales, norms, device);
                break;
        }
    }

    private static void Launch<T>(
        GpuEntry<RowNorms.Parameters<T>> entry, in KvCacheNormsProblem problem, ReadOnlySpan<GpuView> operands, int rows, int scales, int norms,
        GpuDevice device) where T : unmanaged
    {
        int groups = (problem.Slots - 1) / RowNorms.SlotsOfGroup + 1;
        device.Launch(entry, (long)problem.Cells * groups, new RowNorms.Parameters<T>
        {
            Rows = operands[rows].AsTokens<T>(),
            // What is absent is never read: the argument needs some memory all the same.
            Scales = (operands[scales].IsPresent ? operands[scales] : operands[norms]).AsMatrix<float>(),
            Norms = operands[norms].AsMatrix<float>(),
            PageTable = operands[KvCacheNormsProblem.PageTable].AsMatrix<int>(),
            Lengths = operands[KvCacheNormsProblem.Lengths].As<int>(),
            Slots = problem.Slots,
            GroupsOfCell = groups,
            PageSize = problem.PageSize,
            Size = (int)operands[rows].Layout[3],
            HasScales = operands[scales].IsPresent ? 1 : 0,
        });
    }
}
