using ILGPU;
using KernelEngine.Kernels.Gpu.SparseAttention;

namespace KernelEngine;

/// <summary>Launches <see cref="ListedAttention"/>.</summary>
internal sealed class SparseAttentionForwardRows() : GpuKernel<SparseAttentionProblem>("sparse-attention-forward/ilgpu")
{
    private readonly GpuEntry<ListedAttention.Parameters> _attend = new(
        ListedAttention.AttendListed, ListedAttention.Threads, ListedAttention.SharedBytes);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_attend];

    /// <inheritdoc/>
    public override void Launch(
        in SparseAttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device) =>
        device.Launch(_attend, (long)problem.BatchSize * problem.NumHeads * problem.QueryLength, new ListedAttention.Parameters
        {
            Tensors = SparseAttentionArguments.CreateTensors(problem, operands),
            HasLse = operands[SparseAttentionProblem.Lse].IsPresent ? 1 : 0,
        });
}
