namespace KernelEngine;

/// <summary>
/// The cache of one key/value head of one layer: slots in pages of its own. A slot holds a key, a value, the position of its
/// token, a bias added to its scores (ln of how many tokens it stands for), and a number that a policy keeps with it.
/// Slots are in the order of their tokens, but for a ring.
/// </summary>
public sealed class KvCell
{
    private int[] _positions = [];
    private float[] _biases = [];
    private float[] _statistics = [];

    internal KvCell()
    {
    }

    /// <summary>Slots in use.</summary>
    public int Length { get; internal set; }

    /// <summary>The position of each slot's token; the newest for a slot that stands for several.</summary>
    public ReadOnlySpan<int> Positions => _positions.AsSpan(0, Length);

    /// <summary>What is added to the scores of each slot: ln of the tokens that it stands for.</summary>
    public ReadOnlySpan<float> Biases => _biases.AsSpan(0, Length);

    /// <summary>A number that the policy keeps with each slot; 0 for a new one.</summary>
    public Span<float> Statistics => _statistics.AsSpan(0, Length);

    /// <summary>First tokens that a ring keeps.</summary>
    public int SinkCount { get; private set; }

    /// <summary>Last tokens that a ring keeps; 0 for a cell that is no ring.</summary>
    public int RecentCount { get; private set; }

    /// <summary>Whether a new token takes the place of the oldest that is no sink, once there are SinkCount + RecentCount.</summary>
    public bool IsRing => RecentCount > 0;

    /// <summary>Whether slots may be out of the order of their tokens.</summary>
    public bool IsTurned => IsRing && RingNext > 0;

    /// <summary>Whether tokens were dropped.</summary>
    public bool HasDropped { get; internal set; }

    /// <summary>Slots that are stored as codes: those of whole pages.</summary>
    public int CodedLength { get; internal set; }

    // The pages in the order of the slots: page in the pool of rows, or ~page in that of codes.
    internal List<int> Pages { get; } = [];

    // Slots that are stored in full.
    internal int FullLength => Length - CodedLength;

    // The next of the ring's places, counted from the sinks.
    internal int RingNext { get; set; }

    internal int RingCapacity => SinkCount + RecentCount;

    internal bool IsFullRing => IsRing && Length == RingCapacity;

    // Where the key of the first of the tokens appended now stands when positions follow the slots.
    internal int NextIndex(int count) => IsReplacedBy(count) ? Length - 1 : Length;

    // Whether the new tokens take the place of old ones, without more memory.
    internal bool IsReplacedBy(int count) => count == 1 && IsFullRing;

    // Where the first of the new tokens goes, among the slots stored in full.
    internal int NextSlot(int count) => IsReplacedBy(count) ? SinkCount + RingNext : FullLength;

    internal long MetadataBytes => (long)_positions.Length * (sizeof(int) + 2 * sizeof(float)) + Pages.Capacity * sizeof(int);

    internal void SetRing(int sinkCount, int recentCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sinkCount);
        ArgumentOutOfRangeException.ThrowIfLessThan(recentCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(recentCount, int.MaxValue - sinkCount);
        (SinkCount, RecentCount) = (sinkCount, recentCount);
    }

    private void Set(int slot, int position)
    {
        if (slot >= _positions.Length)
        {
            int capacity = (int)Math.Min(Array.MaxLength, Math.Max(slot + 1L, _positions.Length * 3L / 2));
            Array.Resize(ref _positions, capacity);
            Array.Resize(ref _biases, capacity);
            Array.Resize(ref _statistics, capacity);
        }
        (_positions[slot], _biases[slot], _statistics[slot]) = (position, 0f, 0f);
    }

    internal void Append(int position, int count)
    {
        if (IsReplacedBy(count))
        {
            Set(SinkCount + RingNext, position);
            RingNext = (RingNext + 1) % RecentCount;
            HasDropped = true;
            return;
        }
        for (int i = 0; i < count; i++)
            Set(Length + i, position + i);
        Length += count;
    }

    internal void SetBias(int slot, float bias) => _biases[slot] = bias;

    internal void SetPosition(int slot, int position) => _positions[slot] = position;

    // Slot j becomes the old slot kept[j], from low to high: no source lies before its target.
    internal void Keep(ReadOnlySpan<int> kept)
    {
        for (int j = 0, run; j < kept.Length; j += run)
        {
            for (run = 1; j + run < kept.Length && kept[j + run] == kept[j] + run;)
                run++;
            if (kept[j] == j)
                continue;
            Array.Copy(_positions, kept[j], _positions, j, run);
            Array.Copy(_biases, kept[j], _biases, j, run);
            Array.Copy(_statistics, kept[j], _statistics, j, run);
        }
        HasDropped |= kept.Length < Length;
        Length = kept.Length;
    }

    // Memory of slots that are gone goes back once most are.
    internal void TrimMetadata()
    {
        if (_positions.Length <= 2L * Length + 64)
            return;
        Array.Resize(ref _positions, Length);
        Array.Resize(ref _biases, Length);
        Array.Resize(ref _statistics, Length);
    }

    // Where a slot stands in the order of the tokens.
    internal int RankOf(int slot) => !IsTurned || slot < SinkCount || slot >= RingCapacity
        ? slot
        : SinkCount + (slot - SinkCount - RingNext + RecentCount) % RecentCount;

    // What each place of the ring holds after the tokens beyond its size have taken theirs: the slot itself or one of those. Slots that
    // are in the order of their tokens stay so.
    internal int[] PlacesOfRing()
    {
        var places = new int[Math.Min(Length, RingCapacity)];
        for (int j = 0; j < places.Length; j++)
            places[j] = !IsTurned && j >= SinkCount ? Length - places.Length + j : j;
        if (!IsTurned)
            return places;
        for (int slot = RingCapacity; slot < Length; slot++)
        {
            places[SinkCount + RingNext] = slot;
            RingNext = (RingNext + 1) % RecentCount;
        }
        return places;
    }

    internal void Clear() => (Length, SinkCount, RecentCount, RingNext, HasDropped) = (0, 0, 0, 0, false);

    internal void CopyMetadata(KvCell source)
    {
        (_positions, _biases, _statistics) = ([.. source._positions], [.. source._biases], [.. source._statistics]);
        (Length, CodedLength, SinkCount, RecentCount, RingNext, HasDropped) =
            (source.Length, source.CodedLength, source.SinkCount, source.RecentCount, source.RingNext, source.HasDropped);
    }
}
