using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="DequantizePages"/>.</summary>
internal sealed class KvCacheDequantizePages() : GpuKernel<KvCacheDequantizeProblem>("kv-cache-dequantize/ilgpu")
{
    private readonly GpuEntry<QuantizePages.Parameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<QuantizePages.Parameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<QuantizePages.Parameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16];

    /// <inheritdoc/>
    public override void Launch(
        in KvCacheDequantizeProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        KvCacheQuantizeProblem pages = problem.Quantize;
        long items = (long)pages.Pages * pages.PageSize * (pages.HeadDim + pages.ValueHeadDim);
        if (pages.Type == DataType.Float32)
            KvCodePools.Launch(_float32, pages, operands, items, device);
        else
            KvCodePools.Launch(pages.Type == DataType.Float16 ? _float16 : _bfloat16, pages, operands, items, device);
    }

    private static GpuEntry<QuantizePages.Parameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(DequantizePages.ReadPages<T, TStorage>, QuantizePages.Threads, 0, hasQuadLoads: false);
}
