using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="MergeRows"/>. Workspace: an integer a slot.</summary>
internal sealed class KvCacheMergeRows() : GpuKernel<KvCacheMergeProblem>("kv-cache-merge/ilgpu")
{
    private readonly Instance<float> _float32 = Instance<float>.Create<Float32Storage>();
    private readonly Instance<ushort> _float16 = Instance<ushort>.Create<Float16Storage>();
    private readonly Instance<ushort> _bfloat16 = Instance<ushort>.Create<BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _float32.Entries, .. _float16.Entries, .. _bfloat16.Entries];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheMergeProblem problem, GpuDevice device) => (long)sizeof(int) * problem.Cells * problem.Slots;

    /// <inheritdoc/>
    public override void Launch(in KvCacheMergeProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Type == DataType.Float32)
            Launch(_float32, problem, operands, workspace, device);
        else
            Launch(problem.Type == DataType.Float16 ? _float16 : _bfloat16, problem, operands, workspace, device);
    }

    private static void Launch<T>(
        Instance<T> instance, in KvCacheMergeProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
        where T : unmanaged
    {
        long slots = (long)problem.Cells * problem.Slots;
        if (slots == 0)
            return;
        var parameters = new MergeRows.Parameters<T>
        {
            Key = operands[KvCacheMergeProblem.Key].AsTokens<T>(),
            Value = operands[KvCacheMergeProblem.Value].AsTokens<T>(),
            PageTable = operands[KvCacheMergeProblem.PageTable].AsMatrix<int>(),
            Lengths = operands[KvCacheMergeProblem.Lengths].As<int>(),
            Targets = operands[KvCacheMergeProblem.Targets].AsMatrix<int>(),
            Weights = operands[KvCacheMergeProblem.Weights].AsMatrix<float>(),
            Marks = workspace.Cast<int>(),
            Cells = problem.Cells,
            Slots = problem.Slots,
            PageSize = problem.PageSize,
            HeadDim = problem.HeadDim,
            ValueHeadDim = problem.ValueHeadDim,
            IsByDirection = problem.IsByDirection ? 1 : 0,
        };
        long groups = (slots + MergeRows.Threads - 1) / MergeRows.Threads;
        device.Launch(instance.Clear, groups, parameters);
        device.Launch(instance.Mark, groups, parameters);
        device.Launch(instance.Merge, slots, parameters);
    }

    private sealed record Instance<T>(
        GpuEntry<MergeRows.Parameters<T>> Clear, GpuEntry<MergeRows.Parameters<T>> Mark, GpuEntry<MergeRows.Parameters<T>> Merge) where T : unmanaged
    {
        public IEnumerable<GpuEntry> Entries => [Clear, Mark, Merge];

        public static Instance<T> Create<TStorage>() where TStorage : struct, IStorage<T> => new(
            new(MergeRows.ClearMarks<T>, MergeRows.Threads, 0, hasQuadLoads: false),
            new(MergeRows.MarkTargets<T>, MergeRows.Threads, 0, hasQuadLoads: false),
            new(MergeRows.MergeMembers<T, TStorage>, MergeRows.Threads, MergeRows.SharedBytes, hasQuadLoads: false));
    }
}
