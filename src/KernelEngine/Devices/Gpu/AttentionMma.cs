using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="FlashForwardMma"/>: attention of many query rows on the tensor cores of Ampere and later.</summary>
internal sealed class AttentionMma() : GpuKernel<AttentionProblem>("attention-forward/cuda-mma", DeviceKinds.Cuda)
{
    private readonly SequenceEntries<FlashForwardMma.Parameters> _tile64 = All<MmaTile64, MmaTile64>();
    private readonly SequenceEntries<FlashForwardMma.Parameters> _tile96 = All<MmaTile96, MmaTile96>();
    private readonly SequenceEntries<FlashForwardMma.Parameters> _tile128 = All<MmaTile128, RaggedMmaTile128>();
    private readonly SequenceEntries<FlashForwardMma.Parameters> _tile256 = All<MmaTile256, MmaTile256>();

    // For tensors whose rows do not begin on 16 bytes.
    private readonly AttentionGeneral _portable = new("attention-forward/ilgpu-general", isDecode: false);

    public override IReadOnlyList<GpuEntry> Entries => [.. _tile64.All, .. _tile96.All, .. _tile128.All, .. _tile256.All];

    public override bool RoundsIntermediates => true;

    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm80);

    public override string? WhyUnsupported(in AttentionProblem problem) =>
        !AttentionArguments.HasSequencesAlone(problem) ? "computes attention with causality, windows and ragged sequences alone"
        : problem.Type == DataType.Float32 || problem.KvType != problem.Type ? "multiplies 16-bit queries with keys of the same type"
        : problem.HeadDim != problem.ValueHeadDim || problem.HeadDim is not (64 or 96 or 128 or 256)
            ? "computes head dimensions 64, 96, 128 and 256"
        : !(problem.Scale > 0) ? "needs a positive scale"
        : null;

    public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (!GpuView.AllHaveRowsOf(8, operands[..(AttentionProblem.Output + 1)]))
            _portable.Launch(problem, operands, workspace, device);
        else if (problem.HeadDim == MmaTile64.HeadDim)
            Launch<MmaTile64>(_tile64, problem, operands, device);
        else if (problem.HeadDim == MmaTile96.HeadDim)
            Launch<MmaTile96>(_tile96, problem, operands, device);
        else if (problem.HeadDim == MmaTile128.HeadDim)
            Launch<MmaTile128>(_tile128, problem, operands, device);
        else
            Launch<MmaTile256>(_tile256, problem, operands, device);
    }

    private static void Launch<TTile>(
        SequenceEntries<FlashForwardMma.Parameters> entries, in AttentionProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        where TTile : struct, IMmaTile
    {
        int blockM = FlashForwardMma.BlockM<TTile>();
        int queryBlocks = checked((int)AttentionArguments.Blocks(problem, problem.QueryLength, blockM));
        GpuView query = operands[AttentionProblem.Query], key = operands[AttentionProblem.Key], value = operands[AttentionProblem.Value];
        GpuView output = operands[AttentionProblem.Output], lse = operands[AttentionProblem.Lse];
        device.Launch(entries.For(problem), (long)queryBlocks * problem.NumHeads * problem.BatchSize, new FlashForwardMma.Parameters
        {
            Query = query.AsTokenAddress(),
            Key = key.AsTokenAddress(),
            Value = value.AsTokenAddress(),
            Output = output.AsTokenAddress(),
            Lse = lse.Address,
            LseBatchStride = AttentionArguments.Stride(lse, 0),
            LseHeadStride = AttentionArguments.Stride(lse, 1),
            Sequences = AttentionArguments.Sequences(problem, operands),
            NumHeads = problem.NumHeads,
            GroupSize = problem.GroupSize,
            QueryBlocks = queryBlocks,
            SoftmaxScaleLog2 = problem.Scale * 1.44269504f,
        });
    }

    // The two tiles have the same query rows.
    private static SequenceEntries<FlashForwardMma.Parameters> All<TTile, TRaggedTile>()
        where TTile : struct, IMmaTile where TRaggedTile : struct, IMmaTile =>
        new(Both<TTile, EqualSequences>(), Both<TRaggedTile, RaggedSequences>());

    private static TensorCoreEntries<FlashForwardMma.Parameters> Both<TTile, TSequences>()
        where TTile : struct, IMmaTile where TSequences : struct, ISequences =>
        new(Entry<TTile, TensorCoreFloat16, TSequences>(), Entry<TTile, TensorCoreBFloat16, TSequences>());

    private static CudaEntry<FlashForwardMma.Parameters> Entry<TTile, TElement, TSequences>()
        where TTile : struct, IMmaTile where TElement : struct, ITensorCoreElement where TSequences : struct, ISequences => new(
            FlashForwardMma.FlashAttentionForwardMma<TTile, TElement, TSequences>, PtxTarget.Sm80, 32 * TTile.Warps,
            FlashForwardMma.SharedBytes<TTile>(), TTile.GroupsPerMultiprocessor);
}
