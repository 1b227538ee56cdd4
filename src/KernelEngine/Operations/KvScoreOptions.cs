namespace KernelEngine;

/// <summary>How <see cref="KvCells.Score"/> makes scores of attention.</summary>
public sealed record KvScoreOptions
{
    /// <summary>The mean over the heads of a group, not smoothed, nothing protected.</summary>
    public static KvScoreOptions Default { get; } = new();

    /// <summary>How the heads of a group become one.</summary>
    public KvAggregate Aggregate { get; init; }

    /// <summary>How a slot's score is smoothed over its neighbours.</summary>
    public KvPooling Pooling { get; init; }

    /// <summary>Slots that are smoothed over: odd, and 1 without smoothing.</summary>
    public int PoolSize { get; init; } = 1;

    /// <summary>First slots of a cell that are protected.</summary>
    public int SinkCount { get; init; }

    /// <summary>Last slots of a cell that are protected; they are not smoothed over.</summary>
    public int RecentCount { get; init; }

    /// <summary>Factor on what is aggregated: 1 / rows makes a mean of a sum over query rows, −1 puts small numbers first.</summary>
    public float Scale { get; init; } = 1f;
}
