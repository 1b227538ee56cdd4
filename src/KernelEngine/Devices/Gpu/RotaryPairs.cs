using ILGPU;
using KernelEngine.Kernels.Gpu.Layers;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="Rotary"/>.</summary>
internal sealed class RotaryPairs() : GpuKernel<RotaryProblem>("rotary/ilgpu")
{
    private readonly GpuEntry<Rotary.Parameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<Rotary.Parameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<Rotary.Parameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16];

    /// <inheritdoc/>
    public override void Launch(in RotaryProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Type == DataType.Float32)
            Launch(_float32, problem, operands, device);
        else
            Launch(problem.Type == DataType.Float16 ? _float16 : _bfloat16, problem, operands, device);
    }

    private static void Launch<T>(
        GpuEntry<Rotary.Parameters<T>> entry, in RotaryProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device) where T : unmanaged
    {
        GpuView values = operands[RotaryProblem.Values];
        long pairs = checked((long)problem.Tokens * problem.Heads * (problem.RotaryDim / 2));
        device.Launch(entry, (pairs + Rotary.Threads - 1) / Rotary.Threads, new Rotary.Parameters<T>
        {
            Values = values.As<T>(),
            TokenStride = values.Layout.Stride(0),
            HeadStride = values.Layout.Stride(1),
            Cos = operands[RotaryProblem.Cos].AsMatrix<float>(),
            Sin = operands[RotaryProblem.Sin].AsMatrix<float>(),
            Pairs = pairs,
            Heads = problem.Heads,
            HalfDim = problem.RotaryDim / 2,
            Start = problem.Start,
            IsInterleaved = problem.IsInterleaved ? 1 : 0,
        });
    }

    private static GpuEntry<Rotary.Parameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(Rotary.RotaryPairs<T, TStorage>, Rotary.Threads, 0, hasQuadLoads: false);
}
