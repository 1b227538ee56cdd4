using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="RotateRows"/>.</summary>
internal sealed class KvCacheRotateRows() : GpuKernel<KvCacheRotateProblem>("kv-cache-rotate/ilgpu")
{
    private readonly GpuEntry<RotateRows.Parameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<RotateRows.Parameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<RotateRows.Parameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16];

    /// <inheritdoc/>
    public override void Launch(in KvCacheRotateProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Type == DataType.Float32)
            Launch(_float32, problem, operands, device);
        else
            Launch(problem.Type == DataType.Float16 ? _float16 : _bfloat16, problem, operands, device);
    }

    private static void Launch<T>(
        GpuEntry<RotateRows.Parameters<T>> entry, in KvCacheRotateProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device) where T : unmanaged
    {
        GpuView target = operands[KvCacheRotateProblem.Target], source = problem.IsCopy ? operands[KvCacheRotateProblem.Source] : target;
        device.Launch(entry, (long)problem.Cells * problem.Slots, new RotateRows.Parameters<T>
        {
            Source = source.AsTokens<T>(),
            Target = target.AsTokens<T>(),
            PageTable = operands[KvCacheRotateProblem.PageTable].AsMatrix<int>(),
            Lengths = operands[KvCacheRotateProblem.Lengths].As<int>(),
            Steps = operands[KvCacheRotateProblem.Steps].AsMatrix<int>(),
            Cos = operands[KvCacheRotateProblem.Cos].AsMatrix<float>(),
            Sin = operands[KvCacheRotateProblem.Sin].AsMatrix<float>(),
            Slots = problem.Slots,
            PageSize = problem.PageSize,
            HeadDim = problem.HeadDim,
            HalfDim = problem.RotaryDim / 2,
            IsInterleaved = problem.IsInterleaved ? 1 : 0,
        });
    }

    private static GpuEntry<RotateRows.Parameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(RotateRows.RotateKeys<T, TStorage>, RotateRows.Threads, 0, hasQuadLoads: false);
}
