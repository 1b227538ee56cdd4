using ILGPU;
using ILGPU.Runtime;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>
/// Launches <see cref="FlashDecodeMma"/>: attention of a few query rows over a long cache on the tensor cores of Ampere and
/// later.
/// </summary>
internal sealed class AttentionDecodeMma() : GpuKernel<AttentionProblem>("attention-decode/cuda-mma", DeviceKinds.Cuda)
{
    // A warp's pipeline is filled and its state merged once: a split of this many keys gives each warp a few blocks. Splits of
    // ManyKeys hide both, and there may be as many of them as it takes for groups that end early to take over from others.
    private const int MinKeysPerSplit = 256, ManyKeys = 2048, WavesOfManyKeys = 4, MaxSplits = 128;

    private readonly TensorCoreEntries<FlashDecodeMma.Parameters> _tile64 = Both<DecodeMmaTile64>();
    private readonly TensorCoreEntries<FlashDecodeMma.Parameters> _tile96 = Both<DecodeMmaTile96>();
    private readonly TensorCoreEntries<FlashDecodeMma.Parameters> _tile128 = Both<DecodeMmaTile128>();
    private readonly TensorCoreEntries<FlashDecodeMma.Parameters> _tile256 = Both<DecodeMmaTile256>();

    // For tensors whose rows do not begin on 16 bytes.
    private readonly AttentionGeneral _portable = new("attention-decode/ilgpu-general", isDecode: true);

    public override IReadOnlyList<GpuEntry> Entries => [.. _tile64.All, .. _tile96.All, .. _tile128.All, .. _tile256.All];

    /// <inheritdoc/>
    public override bool RoundsIntermediates => true;

    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm80);

    public override string? WhyUnsupported(in AttentionProblem problem) =>
        !(problem with
        {
            WindowLeft = -1,
            WindowRight = -1,
            Alignment = CausalAlignment.BottomRight,
            PageSize = 0,
            PoolPages = 0,
            IsHeadPaged = false,
            Operands = problem.Operands & ~AttentionOperands.KvLengths,
        }).IsPlain
            ? "computes attention with causality, windows, lengths and pages alone"
        : problem.Type == DataType.Float32 || problem.KvType != problem.Type ? "multiplies 16-bit queries with keys of the same type"
        : problem.HeadDim != problem.ValueHeadDim || problem.HeadDim is not (64 or 96 or 128 or 256) ? "computes head dimensions 64, 96, 128 and 256"
        : !(problem.Scale > 0) ? "needs a positive scale"
        : null;

    public override long GetWorkspaceBytes(in AttentionProblem problem, GpuDevice device)
    {
        int splits = ChooseSplits(problem, device.ComputeUnits);
        long bytes = splits > 1 ? checked(splits * Rows(problem) * (problem.HeadDim + 1L) * sizeof(float)) : 0;
        return Math.Max(bytes, _portable.GetWorkspaceBytes(problem, device));
    }

    public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (!GpuView.AllHaveRowsOf(8, operands[..(AttentionProblem.Output + 1)]))
        {
            _portable.Launch(problem, operands, workspace, device);
            return;
        }
        TensorCoreEntries<FlashDecodeMma.Parameters> tile = problem.HeadDim switch { 64 => _tile64, 96 => _tile96, 128 => _tile128, _ => _tile256 };
        int splits = ChooseSplits(problem, device.ComputeUnits);
        device.Launch(tile.For(problem.Type), Groups(problem) * splits, Arguments(problem, operands, workspace, splits));
    }

    /// <summary>
    /// In how many parts the keys are cut: the fewest that fill the multiprocessors in nearly whole waves of groups.
    /// </summary>
    internal static int ChooseSplits(in AttentionProblem problem, int multiprocessors)
    {
        long groups = Groups(problem), atOnce = (long)FlashDecodeMma.GroupsPerMultiprocessor * multiprocessors;
        int most = Math.Min(MaxSplits, problem.KvLength / MinKeysPerSplit);
        if (groups == 0 || groups > FlashDecodeMma.MaxSplitTiles || most <= 1)
            return 1;
        double best = 0;
        for (int splits = 1; splits <= most; splits++)
            best = Math.Max(best, Fullness(splits));
        int start = (int)Math.Clamp(Math.Min(WavesOfManyKeys * atOnce / groups, problem.KvLength / ManyKeys), 1, most);
        for (int splits = start; splits <= most; splits++)
        {
            if (Fullness(splits) >= 0.95 * best)
                return splits;
        }
        return start;

        double Fullness(int splits)
        {
            double waves = (double)groups * splits / atOnce;
            return waves / Math.Ceiling(waves);
        }
    }

    private static int RowBlocks(in AttentionProblem problem) =>
        checked((int)(((long)problem.GroupSize * problem.QueryLength + FlashDecodeMma.Rows - 1) / FlashDecodeMma.Rows));

    // Without splits.
    private static long Groups(in AttentionProblem problem) => (long)RowBlocks(problem) * problem.NumKvHeads * problem.BatchSize;

    private static long Rows(in AttentionProblem problem) => (long)problem.BatchSize * problem.NumHeads * problem.QueryLength;

    private static FlashDecodeMma.Parameters Arguments(
        in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, int splits)
    {
        GpuView query = operands[AttentionProblem.Query], key = operands[AttentionProblem.Key], value = operands[AttentionProblem.Value];
        GpuView output = operands[AttentionProblem.Output], lse = operands[AttentionProblem.Lse];
        GpuView lengths = operands[AttentionProblem.KvLengths], pages = operands[AttentionProblem.PageTable];
        long partial = splits > 1 ? GpuView.AddressOf(workspace) : 0;
        return new FlashDecodeMma.Parameters
        {
            Query = query.AsTokenAddress(),
            Key = key.AsTokenAddress(),
            Value = value.AsTokenAddress(),
            Output = output.AsTokenAddress(),
            Lse = lse.Address,
            KvLengths = lengths.Address,
            PageTable = pages.Address,
            PartialOutput = partial,
            PartialLse = partial + splits * Rows(problem) * problem.HeadDim * sizeof(float),
            LseBatchStride = AttentionArguments.Stride(lse, 0),
            LseHeadStride = AttentionArguments.Stride(lse, 1),
            LengthStride = AttentionArguments.Stride(lengths, 0),
            PageBatchStride = AttentionArguments.Stride(pages, 0),
            PageHeadStride = AttentionArguments.Stride(pages, 1),
            BatchSize = problem.BatchSize,
            NumHeads = problem.NumHeads,
            NumKvHeads = problem.NumKvHeads,
            GroupSize = problem.GroupSize,
            QueryLength = problem.QueryLength,
            KvLength = problem.KvLength,
            PageSize = problem.PageSize,
            IsHeadPaged = problem.IsHeadPaged ? 1 : 0,
            RowBlocks = RowBlocks(problem),
            NumSplits = splits,
            IsTopLeft = problem.Alignment == CausalAlignment.TopLeft ? 1 : 0,
            WindowLeft = problem.WindowLeft < 0 ? int.MaxValue : problem.WindowLeft,
            WindowRight = problem.IsCausal ? 0 : problem.WindowRight < 0 ? int.MaxValue : problem.WindowRight,
            SoftmaxScaleLog2 = problem.Scale * 1.44269504f,
        };
    }

    private static TensorCoreEntries<FlashDecodeMma.Parameters> Both<TTile>() where TTile : struct, IDecodeMmaTile =>
        new(Entry<TTile, TensorCoreFloat16>(), Entry<TTile, TensorCoreBFloat16>());

    private static CudaEntry<FlashDecodeMma.Parameters> Entry<TTile, TElement>()
        where TTile : struct, IDecodeMmaTile where TElement : struct, ITensorCoreElement => new(
            FlashDecodeMma.FlashAttentionDecodeMma<TTile, TElement>, PtxTarget.Sm80, 32 * TTile.Warps,
            FlashDecodeMma.SharedBytes<TTile>(), FlashDecodeMma.GroupsPerMultiprocessor);
}
