using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="AppendRows"/>.</summary>
internal sealed class AttentionAppendRows() : GpuKernel<AttentionAppendProblem>("attention-append/ilgpu")
{
    private const int NumStorages = 4;

    // In the order of DataType, the new rows' storage first; i8 last.
    private readonly Instance[] _instances =
    [
        new Instance<float, Float32Storage, float, Float32Storage>(),
        new Instance<float, Float32Storage, ushort, Float16Storage>(),
        new Instance<float, Float32Storage, ushort, BFloat16Storage>(),
        new Instance<float, Float32Storage, sbyte, Int8Storage>(),
        new Instance<ushort, Float16Storage, float, Float32Storage>(),
        new Instance<ushort, Float16Storage, ushort, Float16Storage>(),
        new Instance<ushort, Float16Storage, ushort, BFloat16Storage>(),
        new Instance<ushort, Float16Storage, sbyte, Int8Storage>(),
        new Instance<ushort, BFloat16Storage, float, Float32Storage>(),
        new Instance<ushort, BFloat16Storage, ushort, Float16Storage>(),
        new Instance<ushort, BFloat16Storage, ushort, BFloat16Storage>(),
        new Instance<ushort, BFloat16Storage, sbyte, Int8Storage>(),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _instances.Select(i => i.Entry)];

    /// <inheritdoc/>
    public override void Launch(in AttentionAppendProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device) =>
        _instances[NumStorages * (int)problem.Type + (problem.KvType == DataType.Int8 ? 3 : (int)problem.KvType)].Launch(problem, operands, device);

    private abstract class Instance
    {
        public abstract GpuEntry Entry { get; }

        public abstract void Launch(in AttentionAppendProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device);
    }

    private sealed class Instance<T, TStorage, TKv, TKvStorage> : Instance
        where T : unmanaged where TStorage : struct, IStorage<T>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        private readonly GpuEntry<AppendRows.Parameters<T, TKv>> _entry = new(
            AppendRows.AppendTokens<T, TStorage, TKv, TKvStorage>, AppendRows.Threads, AppendRows.SharedBytes, hasQuadLoads: false);

        public override GpuEntry Entry => _entry;

        public override void Launch(in AttentionAppendProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        {
            // What is absent is never read: the arguments need some memory all the same.
            GpuView newKey = operands[AttentionAppendProblem.NewKey], positions = operands[AttentionAppendProblem.Positions];
            GpuView query = operands[AttentionAppendProblem.Query], cos = operands[AttentionAppendProblem.Cos], sin = operands[AttentionAppendProblem.Sin];
            GpuView lengths = operands[AttentionAppendProblem.KvLengths], table = operands[AttentionAppendProblem.PageTable];
            GpuView keyScale = operands[AttentionAppendProblem.KeyScale], valueScale = operands[AttentionAppendProblem.ValueScale];
            var none = new MatrixView<float> { Data = positions.As<float>() };
            long groups = checked((long)problem.BatchSize * problem.NewLength * (2L * problem.NumKvHeads + problem.NumHeads));
            device.Launch(_entry, groups, new AppendRows.Parameters<T, TKv>
            {
                NewKey = newKey.AsTokens<T>(),
                NewValue = operands[AttentionAppendProblem.NewValue].AsTokens<T>(),
                Query = (query.IsPresent ? query : newKey).AsTokens<T>(),
                KeyCache = operands[AttentionAppendProblem.KeyCache].AsTokens<TKv>(),
                ValueCache = operands[AttentionAppendProblem.ValueCache].AsTokens<TKv>(),
                KeyScale = (keyScale.IsPresent ? keyScale : positions).As<float>(),
                ValueScale = (valueScale.IsPresent ? valueScale : positions).As<float>(),
                Positions = positions.As<int>(),
                Cos = cos.IsPresent ? cos.AsMatrix<float>() : none,
                Sin = sin.IsPresent ? sin.AsMatrix<float>() : none,
                KvLengths = (lengths.IsPresent ? lengths : positions).As<int>(),
                PageTable = (table.IsPresent ? table : positions).As<int>(),
                LengthsStride = lengths.IsPresent ? lengths.Layout.Stride(0) : 0,
                TableBatchStride = table.IsPresent ? table.Layout.Stride(0) : 0,
                TableHeadStride = table.IsPresent ? table.Layout.Stride(1) : 0,
                KeyScaleBatchStride = AttentionArguments.Stride(keyScale, 0),
                KeyScaleHeadStride = AttentionArguments.Stride(keyScale, 1),
                ValueScaleBatchStride = AttentionArguments.Stride(valueScale, 0),
                ValueScaleHeadStride = AttentionArguments.Stride(valueScale, 1),
                NumHeads = problem.NumHeads,
                NumKvHeads = problem.NumKvHeads,
                NewLength = problem.NewLength,
                HeadDim = problem.HeadDim,
                ValueHeadDim = problem.ValueHeadDim,
                HalfDim = problem.RotaryDim / 2,
                IsInterleaved = problem.IsInterleaved ? 1 : 0,
                HasScales = keyScale.IsPresent ? 1 : 0,
                HasLengths = problem.HasLengths ? 1 : 0,
                PageSize = problem.PageSize,
                IsHeadPaged = problem.IsHeadPaged ? 1 : 0,
            });
        }
    }
}
