using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="MergeStates"/>.</summary>
internal sealed class AttentionMergeRows() : GpuKernel<AttentionMergeProblem>("attention-merge/ilgpu")
{
    private const int NumStorages = 3;

    // In the order of DataType, the output's storage first.
    private readonly Instance[] _instances =
    [
        new Instance<float, Float32Storage, float, Float32Storage>(),
        new Instance<float, Float32Storage, ushort, Float16Storage>(),
        new Instance<float, Float32Storage, ushort, BFloat16Storage>(),
        new Instance<ushort, Float16Storage, float, Float32Storage>(),
        new Instance<ushort, Float16Storage, ushort, Float16Storage>(),
        new Instance<ushort, Float16Storage, ushort, BFloat16Storage>(),
        new Instance<ushort, BFloat16Storage, float, Float32Storage>(),
        new Instance<ushort, BFloat16Storage, ushort, Float16Storage>(),
        new Instance<ushort, BFloat16Storage, ushort, BFloat16Storage>(),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _instances.Select(i => i.Entry)];

    /// <inheritdoc/>
    public override void Launch(in AttentionMergeProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device) =>
        _instances[NumStorages * (int)problem.Type + (int)problem.OtherType].Launch(problem, operands, device);

    private abstract class Instance
    {
        public abstract GpuEntry Entry { get; }

        public abstract void Launch(in AttentionMergeProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device);
    }

    private sealed class Instance<T, TStorage, TOther, TOtherStorage> : Instance
        where T : unmanaged where TStorage : struct, IStorage<T>
        where TOther : unmanaged where TOtherStorage : struct, IStorage<TOther>
    {
        private readonly GpuEntry<MergeStates.Parameters<T, TOther>> _entry = new(
            MergeStates.MergeTwoStates<T, TStorage, TOther, TOtherStorage>, MergeStates.Threads, 0, hasQuadLoads: false);

        public override GpuEntry Entry => _entry;

        public override void Launch(in AttentionMergeProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        {
            GpuView lse = operands[AttentionMergeProblem.Lse], otherLse = operands[AttentionMergeProblem.OtherLse];
            device.Launch(_entry, problem.Rows, new MergeStates.Parameters<T, TOther>
            {
                Output = operands[AttentionMergeProblem.Output].AsTokens<T>(),
                OtherOutput = operands[AttentionMergeProblem.OtherOutput].AsTokens<TOther>(),
                Lse = lse.As<float>(),
                OtherLse = otherLse.As<float>(),
                LseBatchStride = lse.Layout.Stride(0),
                LseHeadStride = lse.Layout.Stride(1),
                OtherLseBatchStride = otherLse.Layout.Stride(0),
                OtherLseHeadStride = otherLse.Layout.Stride(1),
                NumHeads = problem.NumHeads,
                QueryLength = problem.QueryLength,
                ValueHeadDim = problem.ValueHeadDim,
            });
        }
    }
}
