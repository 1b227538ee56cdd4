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
    private readonly SequenceEntries<BackwardMma.Parameters> _keyValue64 = KeyValue<BackwardMmaTile64>();
    private readonly SequenceEntries<BackwardMma.Parameters> _keyValue96 = KeyValue<BackwardMmaTile96>();
    private readonly SequenceEntries<BackwardMma.Parameters> _keyValue128 = KeyValue<BackwardMmaTile128>();
    private readonly SequenceEntries<BackwardMma.Parameters> _keyValue256 = KeyValue<BackwardMmaTile256>();
    private readonly SequenceEntries<BackwardMma.Parameters> _query64 = Query<BackwardMmaTile64>();
    private readonly SequenceEntries<BackwardMma.Parameters> _query96 = Query<BackwardMmaTile96>();
    private readonly SequenceEntries<BackwardMma.Parameters> _query128 = Query<BackwardMmaTile128>();
    private readonly SequenceEntries<BackwardMma.Parameters> _query256 = Query<BackwardMmaTile256>();

    // For tensors whose rows do not begin on 16 bytes.
    private readonly AttentionBackwardTiled _portable = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
    [
        .. _keyValue64.All, .. _keyValue96.All, .. _keyValue128.All, .. _keyValue256.All,
        .. _query64.All, .. _query96.All, .. _query128.All, .. _query256.All,
    ];

    /// <inheritdoc/>
    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm80);

    /// <inheritdoc/>
    public override bool RoundsIntermediates => true;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in AttentionBackwardProblem problem)
    {
        AttentionProblem forward = problem.Forward;
        return !AttentionArguments.HasSequencesAlone(forward)
                ? "computes gradients of attention with causality, windows and ragged sequences alone"
            : forward.Type == DataType.Float32 || forward.KvType != forward.Type ? "multiplies 16-bit queries with keys of the same type"
            : forward.HeadDim != forward.ValueHeadDim || forward.HeadDim is not (64 or 96 or 128 or 256)
                ? "computes head dimensions 64, 96, 128 and 256"
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
        if (forward.HeadDim == BackwardMmaTile64.HeadDim)
            Launch<BackwardMmaTile64>(_keyValue64, _query64, forward, parameters, device);
        else if (forward.HeadDim == BackwardMmaTile96.HeadDim)
            Launch<BackwardMmaTile96>(_keyValue96, _query96, forward, parameters, device);
        else if (forward.HeadDim == BackwardMmaTile128.HeadDim)
            Launch<BackwardMmaTile128>(_keyValue128, _query128, forward, parameters, device);
        else
            Launch<BackwardMmaTile256>(_keyValue256, _query256, forward, parameters, device);
    }

    private static void Launch<TTile>(
        SequenceEntries<BackwardMma.Parameters> keyValue, SequenceEntries<BackwardMma.Parameters> query, in AttentionProblem forward,
        BackwardMma.Parameters parameters, GpuDevice device) where TTile : struct, IBackwardMmaTile
    {
        int rows = BackwardMma.Rows<TTile>();
        if (parameters.GradKey.Address != 0 || parameters.GradValue.Address != 0)
        {
            parameters.Blocks = checked((int)AttentionArguments.Blocks(forward, forward.KvLength, rows));
            device.Launch(keyValue.For(forward), (long)parameters.Blocks * forward.NumKvHeads * forward.BatchSize, parameters);
        }
        if (parameters.GradQuery.Address != 0)
        {
            parameters.Blocks = checked((int)AttentionArguments.Blocks(forward, forward.QueryLength, rows));
            device.Launch(query.For(forward), (long)parameters.Blocks * forward.NumHeads * forward.BatchSize, parameters);
        }
    }

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
            Sequences = AttentionArguments.Sequences(forward, operands),
            NumHeads = forward.NumHeads,
            GroupSize = forward.GroupSize,
            SoftmaxScale = forward.Scale,
        };
    }

    private static SequenceEntries<BackwardMma.Parameters> KeyValue<TTile>() where TTile : struct, IBackwardMmaTile => new(
        new(KeyValue<TTile, TensorCoreFloat16, EqualSequences>(), KeyValue<TTile, TensorCoreBFloat16, EqualSequences>()),
        new(KeyValue<TTile, TensorCoreFloat16, RaggedSequences>(), KeyValue<TTile, TensorCoreBFloat16, RaggedSequences>()));

    private static CudaEntry<BackwardMma.Parameters> KeyValue<TTile, TElement, TSequences>()
        where TTile : struct, IBackwardMmaTile where TElement : struct, ITensorCoreElement where TSequences : struct, ISequences => new(
            FlashGradKeyValueMma.FlashAttentionGradKeyValueMma<TTile, TElement, TSequences>, PtxTarget.Sm80, FlashGradKeyValueMma.Threads,
            FlashGradKeyValueMma.SharedBytes<TTile>());

    private static SequenceEntries<BackwardMma.Parameters> Query<TTile>() where TTile : struct, IBackwardMmaTile => new(
        new(Query<TTile, TensorCoreFloat16, EqualSequences>(), Query<TTile, TensorCoreBFloat16, EqualSequences>()),
        new(Query<TTile, TensorCoreFloat16, RaggedSequences>(), Query<TTile, TensorCoreBFloat16, RaggedSequences>()));

    private static CudaEntry<BackwardMma.Parameters> Query<TTile, TElement, TSequences>()
        where TTile : struct, IBackwardMmaTile where TElement : struct, ITensorCoreElement where TSequences : struct, ISequences => new(
            FlashGradQueryMma.FlashAttentionGradQueryMma<TTile, TElement, TSequences>, PtxTarget.Sm80, FlashGradQueryMma.Threads,
            FlashGradQueryMma.SharedBytes<TTile>(), FlashGradQueryMma.GroupsPerMultiprocessor);
}
