using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="FlashForwardMma"/>: attention of many query rows on the tensor cores of Ampere and later.</summary>
internal sealed class AttentionMma() : GpuKernel<AttentionProblem>("attention-forward/cuda-mma", DeviceKinds.Cuda)
{
    private readonly CudaEntry<FlashForwardMma.Parameters> _float16Tile64 = Entry<MmaTile64, TensorCoreFloat16>();
    private readonly CudaEntry<FlashForwardMma.Parameters> _bfloat16Tile64 = Entry<MmaTile64, TensorCoreBFloat16>();
    private readonly CudaEntry<FlashForwardMma.Parameters> _float16Tile128 = Entry<MmaTile128, TensorCoreFloat16>();
    private readonly CudaEntry<FlashForwardMma.Parameters> _bfloat16Tile128 = Entry<MmaTile128, TensorCoreBFloat16>();
    private readonly CudaEntry<FlashForwardMma.Parameters> _float16Tile256 = Entry<MmaTile256, TensorCoreFloat16>();
    private readonly CudaEntry<FlashForwardMma.Parameters> _bfloat16Tile256 = Entry<MmaTile256, TensorCoreBFloat16>();

    // For tensors whose rows do not begin on 16 bytes.
    private readonly AttentionGeneral _portable = new("attention-forward/ilgpu-general", isDecode: false);

    public override IReadOnlyList<GpuEntry> Entries =>
        [_float16Tile64, _bfloat16Tile64, _float16Tile128, _bfloat16Tile128, _float16Tile256, _bfloat16Tile256];

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
        for (int i = AttentionProblem.Query; i <= AttentionProblem.Output; i++)
        {
            if (operands[i].HasRowsOf(8))
                continue;
            _portable.Launch(problem, operands, workspace, device);
            return;
        }
        bool isBFloat16 = problem.Type == DataType.BFloat16;
        if (problem.HeadDim == MmaTile64.HeadDim)
            Launch<MmaTile64>(isBFloat16 ? _bfloat16Tile64 : _float16Tile64, problem, operands, device);
        else if (problem.HeadDim == MmaTile128.HeadDim)
            Launch<MmaTile128>(isBFloat16 ? _bfloat16Tile128 : _float16Tile128, problem, operands, device);
        else
            Launch<MmaTile256>(isBFloat16 ? _bfloat16Tile256 : _float16Tile256, problem, operands, device);
    }

    private static void Launch<TTile>(
        CudaEntry<FlashForwardMma.Parameters> entry, in AttentionProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        where TTile : struct, IMmaTile
    {
        int blockM = FlashForwardMma.BlockM<TTile>();
        int queryBlocks = (int)(((long)problem.QueryLength + blockM - 1) / blockM);
        GpuView query = operands[AttentionProblem.Query], key = operands[AttentionProblem.Key], value = operands[AttentionProblem.Value];
        GpuView output = operands[AttentionProblem.Output], lse = operands[AttentionProblem.Lse];
        device.Launch(entry, (long)queryBlocks * problem.NumHeads * problem.BatchSize, new FlashForwardMma.Parameters
        {
            Query = query.AsTokenAddress(),
            Key = key.AsTokenAddress(),
            Value = value.AsTokenAddress(),
            Output = output.AsTokenAddress(),
            Lse = lse.IsPresent ? lse.Address : 0,
            LseBatchStride = lse.IsPresent ? lse.Layout.Stride(0) : 0,
            LseHeadStride = lse.IsPresent ? lse.Layout.Stride(1) : 0,
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

    private static CudaEntry<FlashForwardMma.Parameters> Entry<TTile, TElement>()
        where TTile : struct, IMmaTile where TElement : struct, ITensorCoreElement => new(
            FlashForwardMma.FlashAttentionForwardMma<TTile, TElement>, PtxTarget.Sm80, 32 * TTile.Warps,
            FlashForwardMma.SharedBytes<TTile>(), TTile.GroupsPerMultiprocessor);
}
