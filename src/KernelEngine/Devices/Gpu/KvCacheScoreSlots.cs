using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;

namespace KernelEngine;

/// <summary>Launches <see cref="ScoreSlots"/>.</summary>
internal sealed class KvCacheScoreSlots() : GpuKernel<KvCacheScoreProblem>("kv-cache-score/ilgpu")
{
    private readonly GpuEntry<ScoreSlots.Parameters> _entry = new(ScoreSlots.ScoreCells, ScoreSlots.Threads, 0, hasQuadLoads: false);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_entry];

    /// <inheritdoc/>
    public override void Launch(in KvCacheScoreProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Slots == 0)
            return;
        int blocks = (problem.Slots - 1) / ScoreSlots.Threads + 1;
        device.Launch(_entry, (long)problem.Cells * blocks, new ScoreSlots.Parameters
        {
            ColumnMass = operands[KvCacheScoreProblem.ColumnMass].AsMatrix<float>(),
            Scores = operands[KvCacheScoreProblem.Scores].AsMatrix<float>(),
            Lengths = operands[KvCacheScoreProblem.Lengths].As<int>(),
            Slots = problem.Slots,
            BlocksOfCell = blocks,
            GroupSize = problem.GroupSize,
            Aggregate = problem.Aggregate == KvAggregate.Max ? ScoreSlots.Max : ScoreSlots.Sum,
            Pooling = problem.Pooling switch { KvPooling.Mean => ScoreSlots.Mean, KvPooling.Max => ScoreSlots.Max, _ => ScoreSlots.Sum },
            PoolSize = problem.PoolSize,
            SinkCount = problem.SinkCount,
            RecentCount = problem.RecentCount,
            Scale = problem.Aggregate == KvAggregate.Mean ? problem.Scale / problem.GroupSize : problem.Scale,
        });
    }
}
