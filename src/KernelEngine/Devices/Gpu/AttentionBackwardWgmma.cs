using ILGPU;
using ILGPU.Runtime;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>
/// Launches <see cref="FlashGradKeyValueWgmma"/> and <see cref="FlashGradQueryWgmma"/>: attention's gradients on the tensor cores of
/// Hopper. The rows' statistics come first. Seven products of rows · keys · headDim, where one kernel that adds to the query's
/// gradient atomically needs five: nothing is added atomically here, and the same inputs give the same bits.
/// </summary>
internal sealed class AttentionBackwardWgmma() : GpuKernel<AttentionBackwardProblem>("attention-backward/cuda-wgmma", DeviceKinds.Cuda)
{
    private readonly TensorCoreEntries<BackwardWgmma.Parameters> _keyValue64 = KeyValue<BackwardWgmmaTile64>();
    private readonly TensorCoreEntries<BackwardWgmma.Parameters> _keyValue128 = KeyValue<BackwardWgmmaTile128>();
    private readonly TensorCoreEntries<BackwardWgmma.Parameters> _query64 = Query<BackwardWgmmaTile64>();
    private readonly TensorCoreEntries<BackwardWgmma.Parameters> _query128 = Query<BackwardWgmmaTile128>();

    // For tensors whose rows do not begin on 16 bytes.
    private readonly AttentionBackwardTiled _portable = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _keyValue64.All, .. _keyValue128.All, .. _query64.All, .. _query128.All];

    /// <inheritdoc/>
    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm90a);

    /// <inheritdoc/>
    public override bool RoundsIntermediates => true;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in AttentionBackwardProblem problem) => AttentionWgmmaArguments.WhyUnsupported(problem.Forward);

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionBackwardProblem problem, GpuDevice device) => Math.Max(
        checked(2L * sizeof(float) * problem.Forward.BatchSize * problem.Forward.NumHeads * StatisticStride(problem.Forward)),
        _portable.GetWorkspaceBytes(problem, device));

    /// <inheritdoc/>
    public override void Launch(in AttentionBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView gradQuery = operands[AttentionBackwardProblem.GradQuery];
        GpuView gradKey = operands[AttentionBackwardProblem.GradKey], gradValue = operands[AttentionBackwardProblem.GradValue];
        if (!AttentionWgmmaArguments.CanCopy(operands[AttentionProblem.Query]) || !AttentionWgmmaArguments.CanCopy(operands[AttentionProblem.Key])
            || !AttentionWgmmaArguments.CanCopy(operands[AttentionProblem.Value])
            || !AttentionWgmmaArguments.CanCopy(operands[AttentionBackwardProblem.GradOutput])
            || !GpuView.AllHaveRowsOf(2, [gradQuery, gradKey, gradValue]))
        {
            _portable.Launch(problem, operands, workspace, device);
            return;
        }
        AttentionProblem forward = problem.Forward;
        AttentionBackwardTiled.LaunchStatistics(problem, operands, workspace.Cast<float>(), StatisticStride(forward), device);
        bool isNarrow = forward.HeadDim == BackwardWgmmaTile64.HeadDim;
        if (gradKey.IsPresent || gradValue.IsPresent)
        {
            int blocks = Blocks(forward.KvLength);
            int width = isNarrow ? BackwardWgmmaTile64.BlockM : BackwardWgmmaTile128.BlockM;
            device.Launch(
                (isNarrow ? _keyValue64 : _keyValue128).For(forward.Type), (long)blocks * forward.NumKvHeads * forward.BatchSize,
                CreateParameters(forward, operands, workspace, device, width, BackwardWgmma.Rows) with { Blocks = blocks });
        }
        if (gradQuery.IsPresent)
        {
            int blocks = Blocks(forward.QueryLength);
            int width = isNarrow ? BackwardWgmmaTile64.BlockN : BackwardWgmmaTile128.BlockN;
            device.Launch(
                (isNarrow ? _query64 : _query128).For(forward.Type), (long)blocks * forward.NumHeads * forward.BatchSize,
                CreateParameters(forward, operands, workspace, device, BackwardWgmma.Rows, width) with { Blocks = blocks });
        }
    }

    private static int Blocks(int length) => (int)(((long)length + BackwardWgmma.Rows - 1) / BackwardWgmma.Rows);

    private static int StatisticStride(in AttentionProblem forward) =>
        checked((int)(((long)forward.QueryLength + BackwardWgmma.StatisticRows - 1) / BackwardWgmma.StatisticRows * BackwardWgmma.StatisticRows));

    private static BackwardWgmma.Parameters CreateParameters(
        in AttentionProblem forward, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device, int queryRows, int keys) => new()
        {
            Query = AttentionWgmmaArguments.Map(device, operands[AttentionProblem.Query], queryRows),
            GradOutput = AttentionWgmmaArguments.Map(device, operands[AttentionBackwardProblem.GradOutput], queryRows),
            Key = AttentionWgmmaArguments.Map(device, operands[AttentionProblem.Key], keys),
            Value = AttentionWgmmaArguments.Map(device, operands[AttentionProblem.Value], keys),
            GradQuery = operands[AttentionBackwardProblem.GradQuery].AsTokenAddress(),
            GradKey = operands[AttentionBackwardProblem.GradKey].AsTokenAddress(),
            GradValue = operands[AttentionBackwardProblem.GradValue].AsTokenAddress(),
            Statistics = GpuView.AddressOf(workspace),
            StatisticStride = StatisticStride(forward),
            NumHeads = forward.NumHeads,
            GroupSize = forward.GroupSize,
            QueryLength = forward.QueryLength,
            KvLength = forward.KvLength,
            IsCausal = forward.IsCausal ? 1 : 0,
            SoftmaxScale = forward.Scale,
        };

    private static TensorCoreEntries<BackwardWgmma.Parameters> KeyValue<TTile>() where TTile : struct, IBackwardWgmmaTile =>
        new(KeyValue<TTile, TensorCoreFloat16>(), KeyValue<TTile, TensorCoreBFloat16>());

    private static CudaEntry<BackwardWgmma.Parameters> KeyValue<TTile, TElement>()
        where TTile : struct, IBackwardWgmmaTile where TElement : struct, ITensorCoreElement => new(
            FlashGradKeyValueWgmma.FlashAttentionGradKeyValueWgmma<TTile, TElement>, PtxTarget.Sm90a, BackwardWgmma.Threads,
            FlashGradKeyValueWgmma.SharedBytes<TTile>());

    private static TensorCoreEntries<BackwardWgmma.Parameters> Query<TTile>() where TTile : struct, IBackwardWgmmaTile =>
        new(Query<TTile, TensorCoreFloat16>(), Query<TTile, TensorCoreBFloat16>());

    private static CudaEntry<BackwardWgmma.Parameters> Query<TTile, TElement>()
        where TTile : struct, IBackwardWgmmaTile where TElement : struct, ITensorCoreElement => new(
            FlashGradQueryWgmma.FlashAttentionGradQueryWgmma<TTile, TElement>, PtxTarget.Sm90a, BackwardWgmma.Threads,
            FlashGradQueryWgmma.SharedBytes<TTile>());
}
