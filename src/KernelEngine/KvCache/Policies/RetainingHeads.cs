namespace KernelEngine;

/// <summary>
/// Locret (Huang et al. 2024, arXiv:2410.01805): a small trained network reads a token's query, key and value and says how much each
/// key/value head will need it. The score of a token never changes, so a prompt can be read chunk by chunk with a fixed budget. The
/// newest tokens stay until the prompt ends; positions are re-indexed.
/// </summary>
/// <remarks>At the end of the prompt the last tokens are kept beside the budget; the published code reads them after the last eviction.</remarks>
public sealed class RetainingHeads : KvPolicy
{
    private readonly IReadOnlyList<RetainingNetwork> _networks;
    private readonly int _budget, _stabilizers, _localCount;

    /// <summary>Drops tokens after each chunk of a prompt, and no more once it was read.</summary>
    /// <param name="networks">The network of each layer.</param>
    /// <param name="budget">Slots that a cell keeps.</param>
    /// <param name="stabilizers">Newest slots that are kept between chunks: 2500 in the paper; below the budget.</param>
    /// <param name="localCount">Last tokens of the prompt that are kept at its end: 100 in the paper.</param>
    /// <exception cref="ArgumentOutOfRangeException">Only the newest slots would survive.</exception>
    public RetainingHeads(IReadOnlyList<RetainingNetwork> networks, int budget, int stabilizers = 2500, int localCount = 100)
    {
        ArgumentNullException.ThrowIfNull(networks);
        if (stabilizers < 0 || stabilizers >= budget)
        {
            throw new ArgumentOutOfRangeException(
                nameof(stabilizers), stabilizers, $"Stabilizers must be below the budget of {budget}: only they would survive.");
        }
        (_networks, _budget, _stabilizers, _localCount) = (networks, budget, stabilizers, localCount);
        Phases = KvPhases.PrefillChunk | KvPhases.PrefillEnd;
    }


    /// <inheritdoc/>
    public override string Name => "locret";

    /// <inheritdoc/>
    public override KvPositions Positions => KvPositions.ReindexedOnRead;

    /// <summary>First slots that are kept.</summary>
    public int SinkCount { get; init; }

    /// <inheritdoc/>
    public override int? MaxSlots(int layer, int cell) => _budget + _localCount;

    /// <inheritdoc/>
    public override void Observe(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        if (step.Layer.Index >= _networks.Count)
            throw new ArgumentException($"There are {_networks.Count} networks but layer {step.Layer.Index} needs one.", nameof(step));
        _networks[step.Layer.Index].Run(step.NewQuery, step.NewKey, step.NewValue);
    }

    /// <inheritdoc/>
    public override void Record(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        int rows = (int)step.NewKey[1];
        ReadOnlySpan<float> scores = _networks[step.Layer.Index].ReadScores(rows);
        for (int h = 0; h < step.Layer.Cells.Count; h++)
        {
            Span<float> statistics = step.Layer.Cells[h].Statistics[^rows..];
            for (int i = 0; i < rows; i++)
                statistics[i] = scores[i * step.Layer.Cells.Count + h];
        }
    }

    /// <inheritdoc/>
    public override void Evict(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        bool isChunk = step.Phase == KvPhases.PrefillChunk;
        int recent = isChunk ? _stabilizers : _localCount;
        var budgets = new int[step.Layer.Cells.Count];
        for (int h = 0; h < budgets.Length; h++)
            budgets[h] = !step.AppliesTo(h) ? int.MaxValue : isChunk ? _budget : _budget + _localCount;
        step.SetScores((h, slot) => slot < SinkCount || slot >= step.Layer.Cells[h].Length - recent
            ? float.PositiveInfinity
            : step.Layer.Cells[h].Statistics[slot]);
        step.KeepBest(budgets);
    }
}
