using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="FlashForwardMma"/>: attention of many query rows on the tensor cores of Ampere and later.</summary>
internal sealed class AttentionMma() : GpuKernel<AttentionProblem>("attention-forward/cuda-mma", DeviceKinds.Cuda)
{
    private readonly TensorCoreEntries<FlashForwardMma.Parameters> _tile64 = Both<MmaTile64>(), _tile128 = Both<MmaTile128>(), _tile256 = Both<MmaTile256>();

    // For tensors whose rows do not begin on 16 bytes.
    private readonly AttentionGeneral _portable = new("attention-forward/ilgpu-general", isDecode: false);

    public override IReadOnlyList<GpuEntry> Entries => [.. _tile64.All, .. _tile128.All, .. _tile256.All];

    public override bool RoundsIntermediates => true;

    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm80);

    public override string? WhyUnsupported(in AttentionProblem problem) =>
        !(problem with { WindowLeft = -1, WindowRight = -1, Alignment = CausalAlignment.BottomRight }).IsPlain
            ? "computes attention with causality and windows alone"
        : problem.Type == DataType.Float32 || problem.KvType != problem.Type ? "multiplies 16-bit queries with keys of the same type"
        : problem.HeadDim != problem.ValueHeadDim || problem.HeadDim is not (64 or 128 or 256) ? "computes head dimensions 64, 128 and 256"
        : !(problem.Scale > 0) ? "needs a positive scale"
        : null;

    public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (!GpuView.AllHaveRowsOf(8, operands[..(AttentionProblem.Output + 1)]))
            _portable.Launch(problem, operands, workspace, device);
        else if (problem.HeadDim == MmaTile64.HeadDim)
            Launch<MmaTile64>(_tile64, problem, operands, device);
        else if (problem.HeadDim == MmaTile128.HeadDim)
            Launch<MmaTile128>(_tile128, problem, operands, device);
        else
            Launch<MmaTile256>(_tile256, problem, operands, device);
    }

    private static void Launch<TTile>(
        TensorCoreEntries<FlashForwardMma.Parameters> entries, in AttentionProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        where TTile : struct, IMmaTile
    {
        int blockM = FlashForwardMma.BlockM<TTile>();
        int queryBlocks = (int)(((long)problem.QueryLength + blockM - 1) / blockM);
        GpuView query = operands[AttentionProblem.Query], key = operands[AttentionProblem.Key], value = operands[AttentionProblem.Value];
        GpuView output = operands[AttentionProblem.Output], lse = operands[AttentionProblem.Lse];
        device.Launch(entries.For(problem.Type), (long)queryBlocks * problem.NumHeads * problem.BatchSize, new FlashForwardMma.Parameters
        {
            Query = query.AsTokenAddress(),
            Key = key.AsTokenAddress(),
            Value = value.AsTokenAddress(),
            Output = output.AsTokenAddress(),
            Lse = lse.Address,
            LseBatchStride = AttentionArguments.Stride(lse, 0),
            LseHeadStride = AttentionArguments.Stride(lse, 1),
            NumHeads = problem.NumHeads,
            GroupSize = problem.GroupSize,
            QueryLength = problem.QueryLength,
            KvLength = problem.KvLength,
            QueryBlocks = queryBlocks,
            Diagonal = problem.Alignment == CausalAlignment.TopLeft ? 0 : problem.KvLength - problem.QueryLength,
            WindowLeft = problem.WindowLeft < 0 ? int.MaxValue : problem.WindowLeft,
            WindowRight = problem.IsCausal ? 0 : problem.WindowRight < 0 ? int.MaxValue : problem.WindowRight,
            SoftmaxScaleLog2 = problem.Scale * 1.44269504f,
        });
    }

    private static TensorCoreEntries<FlashForwardMma.Parameters> Both<TTile>() where TTile : struct, IMmaTile =>
        new(Entry<TTile, TensorCoreFloat16>(), Entry<TTile, TensorCoreBFloat16>());

    private static CudaEntry<FlashForwardMma.Parameters> Entry<TTile, TElement>()
        where TTile : struct, IMmaTile where TElement : struct, ITensorCoreElement => new(
            FlashForwardMma.FlashAttentionForwardMma<TTile, TElement>, PtxTarget.Sm80, 32 * TTile.Warps,
            FlashForwardMma.SharedBytes<TTile>(), TTile.GroupsPerMultiprocessor);
}
