using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="QuantizePages"/>.</summary>
internal sealed class KvCacheQuantizePages() : GpuKernel<KvCacheQuantizeProblem>("kv-cache-quantize/ilgpu")
{
    private readonly Instance<float> _float32 = Instance<float>.Create<Float32Storage>();
    private readonly Instance<ushort> _float16 = Instance<ushort>.Create<Float16Storage>();
    private readonly Instance<ushort> _bfloat16 = Instance<ushort>.Create<BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _float32.Entries, .. _float16.Entries, .. _bfloat16.Entries];

    /// <inheritdoc/>
    public override void Launch(
        in KvCacheQuantizeProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Type == DataType.Float32)
            Launch(_float32, problem, operands, device);
        else
            Launch(problem.Type == DataType.Float16 ? _float16 : _bfloat16, problem, operands, device);
    }

    private static void Launch<T>(Instance<T> instance, in KvCacheQuantizeProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        where T : unmanaged
    {
        KvCodePools.Launch(instance.Keys, problem, operands, (long)problem.Pages * problem.HeadDim * problem.Bits / 8, device);
        KvCodePools.Launch(instance.Values, problem, operands, (long)problem.Pages * problem.PageSize * problem.Codes.Groups, device);
    }

    private sealed record Instance<T>(GpuEntry<QuantizePages.Parameters<T>> Keys, GpuEntry<QuantizePages.Parameters<T>> Values)
        where T : unmanaged
    {
        public IEnumerable<GpuEntry> Entries => [Keys, Values];

        public static Instance<T> Create<TStorage>() where TStorage : struct, IStorage<T> => new(
            new(QuantizePages.QuantizeKeys<T, TStorage>, QuantizePages.Threads, 0, hasQuadLoads: false),
            new(QuantizePages.QuantizeValues<T, TStorage>, QuantizePages.Threads, 0, hasQuadLoads: false));
    }
}
