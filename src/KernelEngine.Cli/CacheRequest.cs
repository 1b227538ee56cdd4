using KernelEngine.Models;

namespace KernelEngine.Cli;

/// <summary>What the cache of a run is to keep, as the command line says it.</summary>
internal sealed record CacheRequest
{
    /// <summary>A policy of the list, after budgets that wrap it; null to keep everything side by side.</summary>
    public string? Policy { get; init; }

    /// <summary>Slots that a cell keeps.</summary>
    public int Budget { get; init; } = 256;

    /// <summary>First tokens that are kept.</summary>
    public int SinkCount { get; init; } = 4;

    /// <summary>Steps from one eviction to the next.</summary>
    public int Interval { get; init; } = 1;

    /// <summary>When tokens are dropped; null for the policy's own choice.</summary>
    public KvPhases? Phases { get; init; }

    /// <summary>Which cells may lose tokens; null for all.</summary>
    public Func<int, int, bool>? Applies { get; init; }

    /// <summary>Tokens of prompt and answer.</summary>
    public int Length { get; init; }

    /// <summary>Makes the policy for a model; null for none.</summary>
    /// <exception cref="ArgumentException">There is no such policy, or it needs what was not given.</exception>
    public KvPolicy? CreatePolicy(ModelDescription description) => Policy is null ? null : KvPolicyList.Create(Policy, new KvPolicySettings
    {
        Budget = Budget,
        SinkCount = SinkCount,
        Interval = Interval,
        Phases = Phases,
        Applies = Applies,
        NumLayers = description.Layers.Length,
        Length = Length > 0 ? Length : description.MaxPosition,
    });
}
