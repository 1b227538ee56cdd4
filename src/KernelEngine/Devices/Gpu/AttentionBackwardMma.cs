using ILGPU;
using ILGPU.Runtime;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>
/// Launches <see cref="FlashGradKeyValueMma"/> and <see cref="FlashGradQueryMma"/>: attention's gradients on the tensor cores of
/// Ampere and later. δ of every row comes first. Seven products of rows · keys · headDim, where one kernel that adds to the
/// query's gradient atomically needs five: nothing is added atomically here, and the same inputs give the same bits.
/// </summary>
internal sealed class AttentionBackwardMma() : GpuKernel<AttentionBackwardProblem>("attention-backward/cuda-mma", DeviceKinds.Cuda)
{
    private readonly TensorCoreEntries<BackwardMma.Parameters> _keyValueTile64 = new(
        KeyValue<BackwardMmaTile64, TensorCoreFloat16>(), KeyValue<BackwardMmaTile64, TensorCoreBFloat16>());
    private readonly TensorCoreEntries<BackwardMma.Parameters> _keyValueTile128 = new(
        KeyValue<BackwardMmaTile128, TensorCoreFloat16>(), KeyValue<BackwardMmaTile128, TensorCoreBFloat16>());
    private readonly TensorCoreEntries<BackwardMma.Parameters> _queryTile64 = new(
        Query<BackwardMmaTile64, TensorCoreFloat16>(), Query<BackwardMmaTile64, TensorCoreBFloat16>());
    private readonly TensorCoreEntries<BackwardMma.Parameters> _queryTile128 = new(
        Query<BackwardMmaTile128, TensorCoreFloat16>(), Query<BackwardMmaTile128, TensorCoreBFloat16>());

    // For tensors whose rows do not begin on 16 bytes.
    private readonly AttentionBackwardTiled _portable = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
        [.. _keyValueTile64.All, .. _keyValueTile128.All, .. _queryTile64.All, .. _queryTile128.All];

    /// <inheritdoc/>
    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm80);

    /// <inheritdoc/>
    public override bool RoundsIntermediates => true;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in AttentionBackwardProblem problem)
    {
        AttentionProblem forward = problem.Forward;
        return !(forward with { WindowLeft = -1, WindowRight = -1, Alignment = CausalAlignment.BottomRight }).IsPlain
                ? "computes gradients of attention with causality and windows alone"
            : forward.Type == DataType.Float32 || forward.KvType != forward.Type ? "multiplies 16-bit queries with keys of the same type"
            : forward.HeadDim != forward.ValueHeadDim || forward.HeadDim is not (64 or 128) ? "computes head dimensions 64 and 128"
            : !(forward.Scale > 0) ? "needs a positive scale"
            : null;
    }

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionBackwardProblem problem, GpuDevice device) => _portable.GetWorkspaceBytes(problem, device);

    /// <inheritdoc/>
    public override void Launch(in AttentionBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        ReadOnlySpan<GpuView> gradients = operands[AttentionBackwardProblem.GradQuery..(AttentionBackwardProblem.GradValue + 1)];
        if (!GpuView.AllHaveRowsOf(8, operands[..(AttentionProblem.Value + 1)]) || !operands[AttentionBackwardProblem.GradOutput].HasRowsOf(8)
            || !GpuView.AllHaveRowsOf(8, gradients))
        {
            _portable.Launch(problem, operands, workspace, device);
            return;
        }
        AttentionProblem forward = problem.Forward;
        BackwardMma.Parameters parameters = CreateParameters(forward, operands);
        if (forward.BatchSize > 0 && forward.QueryLength > 0)
        {
            AttentionBackwardTiled.LaunchDelta(problem, operands, workspace.Cast<float>(), device);
            parameters.Delta = GpuView.AddressOf(workspace);
        }
        bool isTile64 = forward.HeadDim == BackwardMmaTile64.HeadDim;
        if (parameters.GradKey.Address != 0 || parameters.GradValue.Address != 0)
        {
            TensorCoreEntries<BackwardMma.Parameters> entries = isTile64 ? _keyValueTile64 : _keyValueTile128;
            parameters.Blocks = Blocks(forward.KvLength);
            device.Launch(entries.For(forward.Type), (long)parameters.Blocks * forward.NumKvHeads * forward.BatchSize, parameters);
        }
        if (parameters.GradQuery.Address != 0)
        {
            TensorCoreEntries<BackwardMma.Parameters> entries = isTile64 ? _queryTile64 : _queryTile128;
            parameters.Blocks = Blocks(forward.QueryLength);
            device.Launch(entries.For(forward.Type), (long)parameters.Blocks * forward.NumHeads * forward.BatchSize, parameters);
        }
    }

    private static int Blocks(int length) => (int)(((long)length + BackwardMma.Rows - 1) / BackwardMma.Rows);

    private static BackwardMma.Parameters CreateParameters(in AttentionProblem forward, ReadOnlySpan<GpuView> operands)
    {
        GpuView query = operands[AttentionProblem.Query], key = operands[AttentionProblem.Key], value = operands[AttentionProblem.Value];
        GpuView gradOutput = operands[AttentionBackwardProblem.GradOutput], gradQuery = operands[AttentionBackwardProblem.GradQuery];
        GpuView gradKey = operands[AttentionBackwardProblem.GradKey], gradValue = operands[AttentionBackwardProblem.GradValue];
        GpuView lse = operands[AttentionProblem.Lse];
        return new BackwardMma.Parameters
        {
            Query = query.AsTokenAddress(),
            Key = key.AsTokenAddress(),
            Value = value.AsTokenAddress(),
            GradOutput = gradOutput.AsTokenAddress(),
            GradQuery = gradQuery.AsTokenAddress(),
            GradKey = gradKey.AsTokenAddress(),
            GradValue = gradValue.AsTokenAddress(),
            Lse = lse.Address,
            LseBatchStride = lse.Layout.Stride(0),
            LseHeadStride = lse.Layout.Stride(1),
            NumHeads = forward.NumHeads,
            GroupSize = forward.GroupSize,
            QueryLength = forward.QueryLength,
            KvLength = forward.KvLength,
            Diagonal = forward.Alignment == CausalAlignment.TopLeft ? 0 : forward.KvLength - forward.QueryLength,
            WindowLeft = forward.WindowLeft < 0 ? int.MaxValue : forward.WindowLeft,
            WindowRight = forward.IsCausal ? 0 : forward.WindowRight < 0 ? int.MaxValue : forward.WindowRight,
            SoftmaxScale = forward.Scale,
        };
    }

    private static CudaEntry<BackwardMma.Parameters> KeyValue<TTile, TElement>()
        where TTile : struct, IBackwardMmaTile where TElement : struct, ITensorCoreElement => new(
            FlashGradKeyValueMma.FlashAttentionGradKeyValueMma<TTile, TElement>, PtxTarget.Sm80, FlashGradKeyValueMma.Threads,
            FlashGradKeyValueMma.SharedBytes<TTile>());

    private static CudaEntry<BackwardMma.Parameters> Query<TTile, TElement>()
        where TTile : struct, IBackwardMmaTile where TElement : struct, ITensorCoreElement => new(
            FlashGradQueryMma.FlashAttentionGradQueryMma<TTile, TElement>, PtxTarget.Sm80, FlashGradQueryMma.Threads,
            FlashGradQueryMma.SharedBytes<TTile>(), FlashGradQueryMma.GroupsPerMultiprocessor);
}
