namespace KernelEngine;

/// <summary>
/// Decides what the cells of a cache keep. A policy is a description: what it learns of a sequence is in the cells'
/// statistics and in <see cref="KvStep"/>, so that one object may serve many caches. A new policy is one class and one line in
/// the list of policies.
/// </summary>
public abstract class KvPolicy
{
    private KvPhases _phases = KvPhases.PrefillEnd | KvPhases.Decode;
    private int _interval = 1;
    private Func<int, int, bool>? _applies;
    private bool _hasStrictWindows;

    /// <summary>The name it goes by in tables and on the command line.</summary>
    public abstract string Name { get; }

    /// <summary>At which positions keys are kept.</summary>
    public virtual KvPositions Positions => KvPositions.Original;

    /// <summary>When tokens are dropped.</summary>
    public KvPhases Phases { get => _phases; init => _phases = value; }

    /// <summary>Decoding steps from one eviction to the next; at least 1.</summary>
    public int Interval { get => _interval; init => _interval = value; }

    /// <summary>Which cells it drops tokens of, by layer and key/value head; the others keep all. Null for all cells.</summary>
    public Func<int, int, bool>? Applies { get => _applies; init => _applies = value; }

    /// <summary>
    /// Whether each token of a prompt sees of a ring its own window alone, so that chunks do not matter. Otherwise it sees what the ring
    /// held when its chunk came and the chunk's tokens before it: up to a chunk more, and in the first chunk everything, as published.
    /// </summary>
    public bool HasStrictWindows { get => _hasStrictWindows; init => _hasStrictWindows = value; }

    /// <summary>How many of the latest queries <see cref="Evict"/> looks at.</summary>
    public virtual int QueryWindow => 0;

    /// <summary>Whether the weights that queries give to each slot are summed up in its statistic, from the first query on.</summary>
    public virtual bool SumsWeights => false;

    /// <summary>How many values a query head reads of a cell while tokens are generated, those of the largest weights; 0 for all.</summary>
    public virtual int ValueCount => 0;

    /// <summary>
    /// Whether what is learnt of tokens before they are appended is held against stored keys, which then must not be shorter (<see
    /// cref="KvProjection"/>).
    /// </summary>
    public virtual bool NeedsWholeKeys => false;

    /// <summary>The most slots of a cell that a single new token sees, or null for all.</summary>
    public virtual int? MaxSeen(KvLayer layer) => null;

    /// <summary>The most slots that a cell holds after an eviction, or null when there is no bound.</summary>
    public virtual int? MaxSlots(int layer, int cell) => null;

    /// <summary>Prepares an empty layer.</summary>
    public virtual void Begin(KvLayer layer)
    {
    }

    /// <summary>Sees new tokens before they are appended: their queries, keys and values, not turned yet.</summary>
    public virtual void Observe(KvStep step)
    {
    }

    /// <summary>Gives what <see cref="Observe"/> learnt to the slots of the tokens, which are now the last of each cell.</summary>
    public virtual void Record(KvStep step)
    {
    }

    /// <summary>Drops tokens of one layer.</summary>
    public abstract void Evict(KvStep step);

    /// <summary>Whether a cell may lose tokens.</summary>
    public bool AppliesTo(int layer, int cell) => Applies?.Invoke(layer, cell) ?? true;

    // Settings that every policy has, for one that was just made. One that never drops tokens keeps to that.
    internal KvPolicy Configure(KvPolicySettings settings)
    {
        (_phases, _interval, _applies) = (_phases == KvPhases.None ? _phases : settings.Phases ?? _phases, settings.Interval, settings.Applies);
        _hasStrictWindows = settings.HasStrictWindows;
        return this;
    }
}
