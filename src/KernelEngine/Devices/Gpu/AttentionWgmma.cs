using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="FlashForwardWgmma"/>: attention of many query rows on the tensor cores of Hopper.</summary>
internal sealed class AttentionWgmma() : GpuKernel<AttentionProblem>("attention-forward/cuda-wgmma", DeviceKinds.Cuda)
{
    private const int CopyingThreads = 128, ConsumerThreads = 128, RowsOfConsumer = 64, SlabColumns = 64;

    private readonly TensorCoreEntries<FlashForwardWgmma.Parameters> _tile64 = Both<WgmmaTile64>(), _tile128 = Both<WgmmaTile128>();

    // For tensors whose rows do not begin on 16 bytes.
    private readonly AttentionTiled _portable = new();

    public override IReadOnlyList<GpuEntry> Entries => [.. _tile64.All, .. _tile128.All];

    public override bool RoundsIntermediates => true;

    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm90a);

    public override string? WhyUnsupported(in AttentionProblem problem) =>
        !problem.IsPlain ? "computes plain and causal attention alone"
        : problem.Type == DataType.Float32 || problem.KvType != problem.Type ? "multiplies 16-bit queries with keys of the same type"
        : problem.HeadDim != problem.ValueHeadDim || problem.HeadDim is not (64 or 128) ? "computes head dimensions 64 and 128"
        : problem.QueryLength == 0 || problem.KvLength == 0 || problem.BatchSize == 0 || problem.NumHeads == 0 ? "needs rows and keys"
        : !(problem.Scale > 0) ? "needs a positive scale"
        : null;

    public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (!CanCopy(operands[AttentionProblem.Query]) || !CanCopy(operands[AttentionProblem.Key]) || !CanCopy(operands[AttentionProblem.Value])
            || !operands[AttentionProblem.Output].HasRowsOf(2))
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
            Query = Map(device, operands[AttentionProblem.Query], RowsOfConsumer),
            Key = Map(device, operands[AttentionProblem.Key], TTile.BlockN),
            Value = Map(device, operands[AttentionProblem.Value], TTile.BlockN),
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

    // The copy engine moves rows that begin on 16 bytes, at most 2^40 bytes apart.
    private static bool CanCopy(GpuView view)
    {
        if (!view.HasRowsOf(8))
            return false;
        for (int i = 0; i < 3; i++)
        {
            if (view.Layout[i] > 1 && view.Layout.Stride(i) is < 1 or >= 1L << 39)
                return false;
        }
        return true;
    }

    private static TensorMap Map(GpuDevice device, GpuView view, int rows)
    {
        TensorLayout layout = view.Layout;
        // Innermost first: element, head, token, sequence. The stride of a dimension of one element says nothing.
        Span<ulong> strides = stackalloc ulong[3];
        for (int i = 0; i < 3; i++)
            strides[i] = 2 * (ulong)(layout[i] > 1 ? layout.Stride(i) : layout[3]);
        return device.EncodeTensorMap(
            view.Address, view.Type, [(ulong)layout[3], (ulong)layout[2], (ulong)layout[1], (ulong)layout[0]],
            [strides[2], strides[1], strides[0]], [SlabColumns, 1, (uint)rows, 1]);
    }

    private static TensorCoreEntries<FlashForwardWgmma.Parameters> Both<TTile>() where TTile : struct, IWgmmaTile =>
        new(Entry<TTile, TensorCoreFloat16>(), Entry<TTile, TensorCoreBFloat16>());

    private static CudaEntry<FlashForwardWgmma.Parameters> Entry<TTile, TElement>()
        where TTile : struct, IWgmmaTile where TElement : struct, ITensorCoreElement => new(
            FlashForwardWgmma.FlashAttentionForwardWgmma<TTile, TElement>, PtxTarget.Sm90a,
            CopyingThreads + ConsumerThreads * FlashForwardWgmma.Consumers, FlashForwardWgmma.SharedBytes<TTile>());
}
