using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="NearestRows"/>.</summary>
internal sealed class KvCacheNearestRows() : GpuKernel<KvCacheNearestProblem>("kv-cache-nearest/ilgpu")
{
    private readonly GpuEntry<NearestRows.Parameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<NearestRows.Parameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<NearestRows.Parameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16];

    /// <inheritdoc/>
    public override void Launch(in KvCacheNearestProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Type == DataType.Float32)
            Launch(_float32, problem, operands, device);
        else
            Launch(problem.Type == DataType.Float16 ? _float16 : _bfloat16, problem, operands, device);
    }

    private static void Launch<T>(
        GpuEntry<NearestRows.Parameters<T>> entry, in KvCacheNearestProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        where T : unmanaged
    {
        device.Launch(entry, (long)problem.Cells * problem.Slots, new NearestRows.Parameters<T>
        {
            Key = operands[KvCacheNearestProblem.Key].AsTokens<T>(),
            Value = operands[KvCacheNearestProblem.Value].AsTokens<T>(),
            PageTable = operands[KvCacheNearestProblem.PageTable].AsMatrix<int>(),
            Centres = operands[KvCacheNearestProblem.Centres].AsMatrix<int>(),
            Candidates = operands[KvCacheNearestProblem.Candidates].AsMatrix<int>(),
            Nearest = operands[KvCacheNearestProblem.Nearest].AsMatrix<int>(),
            CentreCounts = operands[KvCacheNearestProblem.CentreCounts].As<int>(),
            CandidateCounts = operands[KvCacheNearestProblem.CandidateCounts].As<int>(),
            Similarity = operands[KvCacheNearestProblem.Similarity].AsMatrix<float>(),
            Slots = problem.Slots,
            PageSize = problem.PageSize,
            HeadDim = problem.HeadDim,
            ValueHeadDim = problem.ValueHeadDim,
            Threshold = problem.Threshold,
        });
    }

    private static GpuEntry<NearestRows.Parameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(NearestRows.FindNearest<T, TStorage>, NearestRows.Threads, NearestRows.SharedBytes, hasQuadLoads: false);
}
