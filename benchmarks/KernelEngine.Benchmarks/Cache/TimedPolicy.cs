using System.Diagnostics;

namespace KernelEngine.Benchmarks.Cache;

/// <summary>A policy whose evictions are timed.</summary>
internal sealed class TimedPolicy : KvPolicy
{
    private readonly KvPolicy _inner;

    public TimedPolicy(KvPolicy inner)
    {
        _inner = inner;
        (Phases, Interval, Applies) = (inner.Phases, inner.Interval, inner.Applies);
    }

    public override string Name => _inner.Name;

    public override KvPositions Positions => _inner.Positions;

    public override int QueryWindow => _inner.QueryWindow;

    public override bool SumsWeights => _inner.SumsWeights;

    public double Seconds { get; set; }

    public override int? MaxSlots(int layer, int cell) => _inner.MaxSlots(layer, cell);

    public override void Begin(KvLayer layer) => _inner.Begin(layer);

    public override void Observe(KvStep step) => _inner.Observe(step);

    public override void Record(KvStep step) => _inner.Record(step);

    public override void Evict(KvStep step)
    {
        long start = Stopwatch.GetTimestamp();
        _inner.Evict(step);
        Seconds += Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
