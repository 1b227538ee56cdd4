using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// Launches <see cref="ExpectAttention"/> after the norms of the values. Workspace: a float for each head and slot, two a head.
/// </summary>
internal sealed class KvCacheExpectSlots() : GpuKernel<KvCacheExpectProblem>("kv-cache-expect/ilgpu")
{
    private const float Log2E = 1.44269504f;

    private readonly RowNormsEntries _norms = new();
    private readonly GpuEntry<ExpectAttention.Parameters<float>> _float32 = CreateEntry<float, Float32Storage>();
    private readonly GpuEntry<ExpectAttention.Parameters<ushort>> _float16 = CreateEntry<ushort, Float16Storage>();
    private readonly GpuEntry<ExpectAttention.Parameters<ushort>> _bFloat16 = CreateEntry<ushort, BFloat16Storage>();
    private readonly GpuEntry<ExpectAttention.Parameters<sbyte>> _int8 = CreateEntry<sbyte, Int8Storage>();
    private readonly GpuEntry<ExpectAttention.SoftmaxParameters> _totals = CreateTotals();
    private readonly GpuEntry<ExpectAttention.SoftmaxParameters> _scores = new(
        ExpectAttention.ScoreCells, ExpectAttention.Threads, 0, hasQuadLoads: false);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bFloat16, _int8, _totals, _scores, .. _norms.All];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheExpectProblem problem, GpuDevice device) => Lay(problem).Layout.Bytes;

    /// <inheritdoc/>
    public override void Launch(
        in KvCacheExpectProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Cells == 0 || problem.Slots == 0)
            return;
        GpuView lengths = operands[KvCacheExpectProblem.Lengths], scores = operands[KvCacheExpectProblem.Scores];
        _norms.Launch(
            operands[KvCacheExpectProblem.Value], operands[KvCacheExpectProblem.ValueScale], scores,
            operands[KvCacheExpectProblem.PageTable], lengths, device);
        int blocks = (problem.Slots - 1) / ExpectAttention.Threads + 1;
        (_, long exponents, long totals) = Lay(problem);
        var softmax = new ExpectAttention.SoftmaxParameters
        {
            Scores = scores.AsMatrix<float>(),
            Lengths = lengths.As<int>(),
            Exponents = workspace.SubView(exponents).Cast<float>(),
            Totals = workspace.SubView(totals).Cast<float>(),
            Slots = problem.Slots,
            GroupSize = problem.GroupSize,
            SinkCount = problem.SinkCount,
            BlocksOfCell = blocks,
            Epsilon = problem.Epsilon,
        };
        switch (problem.Type)
        {
            case DataType.Float32:
                Launch(_float32, problem, operands, softmax, device);
                break;
            case DataType.Float16:
                Launch(_float16, problem, operands, softmax, device);
                break;
            case DataType.Int8:
                Launch(_int8, problem, operands, softmax, device);
                break;
            default:
                Launch(_bFloat16, problem, operands, softmax, device);
                break;
        }
        device.Launch(_totals, problem.NumHeads, softmax);
        device.Launch(_scores, (long)problem.Cells * blocks, softmax);
    }

    /// <summary>The code that finds the maximum and the sum of each head.</summary>
    public static GpuEntry<ExpectAttention.SoftmaxParameters> CreateTotals() =>
        new(ExpectAttention.FindTotals, ExpectAttention.Threads, ExpectAttention.TotalSharedBytes, hasQuadLoads: false);

    private static GpuEntry<ExpectAttention.Parameters<T>> CreateEntry<T, TStorage>()
        where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(ExpectAttention.FindExponents<T, TStorage>, ExpectAttention.Threads, ExpectAttention.ExponentSharedBytes);

    private static (WorkspaceLayout Layout, long Exponents, long Totals) Lay(in KvCacheExpectProblem problem)
    {
        var layout = new WorkspaceLayout();
        long exponents = layout.Add((long)problem.NumHeads * problem.Slots), totals = layout.Add(2L * problem.NumHeads);
        return (layout, exponents, totals);
    }

    private static void Launch<T>(
        GpuEntry<ExpectAttention.Parameters<T>> entry, in KvCacheExpectProblem problem, ReadOnlySpan<GpuView> operands,
        in ExpectAttention.SoftmaxParameters softmax, GpuDevice device) where T : unmanaged
    {
        GpuView covariance = operands[KvCacheExpectProblem.QueryCovariance], keyScale = operands[KvCacheExpectProblem.KeyScale];
        int groups = (problem.Slots - 1) / ExpectAttention.SlotsOfGroup + 1;
        device.Launch(entry, (long)problem.NumHeads * groups, new ExpectAttention.Parameters<T>
        {
            QueryMean = operands[KvCacheExpectProblem.QueryMean].AsMatrix<float>(),
            QueryCovariance = covariance.As<float>(),
            Key = operands[KvCacheExpectProblem.Key].AsTokens<T>(),
            // What is absent is never read: the argument needs some memory all the same.
            KeyScale = (keyScale.IsPresent ? keyScale : covariance).AsMatrix<float>(),
            PageTable = operands[KvCacheExpectProblem.PageTable].AsMatrix<int>(),
            Softmax = softmax,
            CovarianceHeadStride = covariance.Layout.Stride(0),
            CovarianceRowStride = covariance.Layout.Stride(1),
            CovarianceHasQuads = covariance.HasQuads ? 1 : 0,
            HasKeyScale = keyScale.IsPresent ? 1 : 0,
            GroupsOfHead = groups,
            PageSize = problem.PageSize,
            HeadDim = problem.HeadDim,
            Linear = problem.Scale * Log2E,
            Quadratic = problem.Scale * problem.Scale * (0.5f * Log2E),
        });
    }
}
