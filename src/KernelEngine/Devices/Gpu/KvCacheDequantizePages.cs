using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="DequantizePages"/>.</summary>
internal sealed class KvCacheDequantizePages() : GpuKernel<KvCacheDequantizeProblem>("kv-cache-dequantize/ilgpu")
{
    private readonly Instance<float> _float32 = Instance<float>.Create<Float32Storage>();
    private readonly Instance<ushort> _float16 = Instance<ushort>.Create<Float16Storage>();
    private readonly Instance<ushort> _bfloat16 = Instance<ushort>.Create<BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _float32.Entries, .. _float16.Entries, .. _bfloat16.Entries];

    /// <inheritdoc/>
    public override void Launch(
        in KvCacheDequantizeProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Type == DataType.Float32)
            Launch(_float32, problem, operands, device);
        else
            Launch(problem.Type == DataType.Float16 ? _float16 : _bfloat16, problem, operands, device);
    }

    private static void Launch<T>(
        Instance<T> instance, in KvCacheDequantizeProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        where T : unmanaged
    {
        GpuView key = operands[KvCacheDequantizeProblem.Key], value = operands[KvCacheDequantizeProblem.Value];
        var parameters = new QuantizePages.Parameters<T>
        {
            Key = key.As<T>(),
            Value = value.As<T>(),
            SourcePages = operands[KvCacheDequantizeProblem.SourcePages].As<int>(),
            TargetPages = operands[KvCacheDequantizeProblem.TargetPages].As<int>(),
            Codes = KvCodePools.Create(operands, KvCacheDequantizeProblem.KeyCodes, problem.Bits),
            KeyPageStride = key.Layout.Stride(0),
            KeyRowStride = key.Layout.Stride(1),
            ValuePageStride = value.Layout.Stride(0),
            ValueRowStride = value.Layout.Stride(1),
            PageSize = problem.PageSize,
            HeadDim = problem.HeadDim,
            ValueHeadDim = problem.ValueHeadDim,
        };
        Launch(instance.Read, parameters, (long)problem.Pages * problem.PageSize * (problem.HeadDim + problem.ValueHeadDim), device);
    }

    private static void Launch<T>(
        GpuEntry<QuantizePages.Parameters<T>> entry, QuantizePages.Parameters<T> parameters, long items, GpuDevice device)
        where T : unmanaged
    {
        parameters.Items = items;
        device.Launch(entry, (items + DequantizePages.Threads - 1) / DequantizePages.Threads, parameters);
    }

    private sealed record Instance<T>(GpuEntry<QuantizePages.Parameters<T>> Read) where T : unmanaged
    {
        public IEnumerable<GpuEntry> Entries => [Read];

        public static Instance<T> Create<TStorage>() where TStorage : struct, IStorage<T> =>
            new(new GpuEntry<QuantizePages.Parameters<T>>(
                DequantizePages.ReadPages<T, TStorage>, DequantizePages.Threads, 0, hasQuadLoads: false));
    }
}
