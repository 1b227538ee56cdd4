using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="FlashForwardWgmma"/>: attention of many query rows on the tensor cores of Hopper.</summary>
internal sealed class AttentionWgmma() : GpuKernel<AttentionProblem>("attention-forward/cuda-wgmma", DeviceKinds.Cuda)
{
    private const int CopyingThreads = 128, ConsumerThreads = 128, RowsOfConsumer = 64;

    private readonly TensorCoreEntries<FlashForwardWgmma.Parameters> _tile64 = Both<WgmmaTile64>(), _tile128 = Both<WgmmaTile128>();

    // For tensors whose rows do not begin on 16 bytes.
    private readonly AttentionTiled _portable = new();

    public override IReadOnlyList<GpuEntry> Entries => [.. _tile64.All, .. _tile128.All];

    public override bool RoundsIntermediates => true;

    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm90a);

    public override string? WhyUnsupported(in AttentionProblem problem) => AttentionWgmmaArguments.WhyUnsupported(problem);

    public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (!AttentionWgmmaArguments.CanCopy(operands[AttentionProblem.Query]) || !AttentionWgmmaArguments.CanCopy(operands[AttentionProblem.Key])
            || !AttentionWgmmaArguments.CanCopy(operands[AttentionProblem.Value]) || !operands[AttentionProblem.Output].HasRowsOf(2))
        {
            _portable.Launch(problem, operands, workspace, device);
            return;
        }
        if (problem.HeadDim == WgmmaTile64.HeadDim)
            Launch<WgmmaTile64>(_tile64, problem, operands, device);
        else
            Launch<WgmmaTile128>(_tile128, problem, operands, device);
    }

    private static void Launch<TTile>(
        TensorCoreEntries<FlashForwardWgmma.Parameters> entries, in AttentionProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        where TTile : struct, IWgmmaTile
    {
        int blockM = RowsOfConsumer * FlashForwardWgmma.Consumers;
        int queryBlocks = (int)(((long)problem.QueryLength + blockM - 1) / blockM);
        GpuView output = operands[AttentionProblem.Output], lse = operands[AttentionProblem.Lse];
        device.Launch(entries.For(problem.Type), (long)queryBlocks * problem.NumHeads * problem.BatchSize, new FlashForwardWgmma.Parameters
        {
            Query = AttentionWgmmaArguments.Map(device, operands[AttentionProblem.Query], blockM),
            Key = AttentionWgmmaArguments.Map(device, operands[AttentionProblem.Key], TTile.BlockN),
            Value = AttentionWgmmaArguments.Map(device, operands[AttentionProblem.Value], TTile.BlockN),
            Output = output.AsTokenAddress(),
            Lse = lse.Address,
            LseBatchStride = AttentionArguments.Stride(lse, 0),
            LseHeadStride = AttentionArguments.Stride(lse, 1),
            NumHeads = problem.NumHeads,
            GroupSize = problem.GroupSize,
            QueryLength = problem.QueryLength,
            KvLength = problem.KvLength,
            QueryBlocks = queryBlocks,
            IsCausal = problem.IsCausal ? 1 : 0,
            SoftmaxScaleLog2 = problem.Scale * 1.44269504f,
        });
    }

    private static TensorCoreEntries<FlashForwardWgmma.Parameters> Both<TTile>() where TTile : struct, IWgmmaTile =>
        new(Entry<TTile, TensorCoreFloat16>(), Entry<TTile, TensorCoreBFloat16>());

    private static CudaEntry<FlashForwardWgmma.Parameters> Entry<TTile, TElement>()
        where TTile : struct, IWgmmaTile where TElement : struct, ITensorCoreElement => new(
            FlashForwardWgmma.FlashAttentionForwardWgmma<TTile, TElement>, PtxTarget.Sm90a,
            CopyingThreads + ConsumerThreads * FlashForwardWgmma.Consumers, FlashForwardWgmma.SharedBytes<TTile>());
}
