namespace KernelEngine;

/// <summary>
/// EMS (Li et al. 2024, arXiv:2412.08521), reconstructed from its abstract: no code of the authors is public, and what the abstract
/// leaves open was filled in here. A slot's score is the weight of all queries or that of the last ones, brought to the same mean,
/// whichever is larger. The best slots are centres; as many next ones are merged into the centre whose key and value point the
/// same way, or dropped when none is near; the rest is dropped.
/// </summary>
/// <param name="budget">How many slots cells keep; an <see cref="AdaptiveBudget"/> lets heads compete.</param>
/// <param name="threshold">Similarity from which a slot is merged: cos(keys) · cos(values), both not negative.</param>
/// <param name="window">Last queries of the local score.</param>
public sealed class EvictThenMerge(KvBudget budget, double threshold = 0.6, int window = 32) : KvPolicy
{
    private readonly KvBudget _budget = budget ?? throw new ArgumentNullException(nameof(budget));

    /// <inheritdoc/>
    public override string Name => "ems";

    /// <inheritdoc/>
    public override int QueryWindow => window;

    /// <inheritdoc/>
    public override bool SumsWeights => true;

    /// <inheritdoc/>
    public override int? MaxSlots(int layer, int cell) => _budget.MaxSlots;

    /// <summary>First slots that are always centres, into which nothing is merged.</summary>
    public int SinkCount { get; init; } = 4;

    /// <summary>Last slots that are always centres.</summary>
    public int RecentCount { get; init; } = 32;

    /// <summary>Slots considered for merging, as a share of the centres.</summary>
    public double MergeShare { get; init; } = 1;

    /// <summary>Whether a centre weighs as many slots as it stands for: exact for equal ones.</summary>
    public bool CountsMembers { get; init; }

    /// <inheritdoc/>
    public override void Evict(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        KvLayer layer = step.Layer;
        if (!_budget.IsExceeded(step))
            return;
        int capacity = layer.Capacity;
        float[] scores = CombineScores(step);
        step.SetScores((h, slot) => IsProtected(layer.Cells[h], slot) ? float.PositiveInfinity : scores[h * capacity + slot]);
        (int[] kept, int[] counts) = _budget.Select(step);
        int[] wanted = [.. counts.Select((count, h) => (int)Math.Min(layer.Cells[h].Length, count + (long)(count * MergeShare)))];
        (int[] considered, int[] consideredCounts) = step.Select(wanted);

        int[] targets = FindTargets(step, kept, counts, considered, consideredCounts);
        layer.Merge(targets, scores, byDirection: true);
        Gather(layer, targets);
        var lists = new int[counts.Length][];
        for (int h = 0; h < lists.Length; h++)
            lists[h] = kept.AsSpan(h * capacity, counts[h]).ToArray();
        layer.Keep(lists);
    }

    private bool IsProtected(KvCell cell, int slot) => slot < SinkCount || slot >= cell.Length - RecentCount;

    // max(global · mean(local) / mean(global), local), [numKvHeads, capacity].
    private static float[] CombineScores(KvStep step)
    {
        KvLayer layer = step.Layer;
        TensorView weights = step.SumWeights(out _);
        KvCells.Score(weights, layer.Lengths.Join(0), step.Scores, new KvScoreOptions());
        float[] scores = step.ReadScores();
        int capacity = layer.Capacity, groupSize = step.NumHeads / layer.Cells.Count;
        for (int h = 0; h < layer.Cells.Count; h++)
        {
            ReadOnlySpan<float> all = layer.Cells[h].Statistics;
            Span<float> local = scores.AsSpan(h * capacity, capacity);
            double sumOfAll = 0, sumOfLocal = 0;
            for (int slot = 0; slot < all.Length; slot++)
                (sumOfAll, sumOfLocal) = (sumOfAll + all[slot] / groupSize, sumOfLocal + local[slot]);
            float factor = sumOfAll > 0 ? (float)(sumOfLocal / sumOfAll / groupSize) : 0f;
            for (int slot = 0; slot < all.Length; slot++)
                local[slot] = Math.Max(all[slot] * factor, local[slot]);
            local[all.Length..].Clear();
        }
        return scores;
    }

    // The centre that each considered slot is merged into, or −1, [numKvHeads, capacity].
    private int[] FindTargets(KvStep step, int[] kept, int[] counts, int[] considered, int[] consideredCounts)
    {
        KvLayer layer = step.Layer;
        int capacity = layer.Capacity;
        var centres = new int[kept.Length];
        var candidates = new int[kept.Length];
        var centreCounts = new int[counts.Length];
        var candidateCounts = new int[counts.Length];
        Array.Fill(centres, -1);
        Array.Fill(candidates, -1);
        for (int h = 0; h < counts.Length; h++)
        {
            int[] own = kept.AsSpan(h * capacity, counts[h]).ToArray();
            foreach (int slot in own.Where(slot => slot >= SinkCount))
                centres[h * capacity + centreCounts[h]++] = slot;
            foreach (int slot in considered.AsSpan(h * capacity, consideredCounts[h]).ToArray().Except(own))
                candidates[h * capacity + candidateCounts[h]++] = slot;
        }
        using Tensor centreSlots = Tensor.From<int>(layer.Device, centres, counts.Length, capacity);
        using Tensor candidateSlots = Tensor.From<int>(layer.Device, candidates, counts.Length, capacity);
        using Tensor numCentres = Tensor.From<int>(layer.Device, centreCounts, counts.Length);
        using Tensor numCandidates = Tensor.From<int>(layer.Device, candidateCounts, counts.Length);
        using Tensor nearest = Tensor.Allocate(layer.Device, DataType.Int32, counts.Length, capacity);
        using Tensor similarity = Tensor.Allocate(layer.Device, DataType.Float32, counts.Length, capacity);
        KvRows rows = layer.Read();
        KvCells.Nearest(
            rows.Key, rows.Value, rows.PageTable, centreSlots, numCentres, candidateSlots, numCandidates, nearest, similarity,
            (float)threshold);
        int[] found = nearest.ToArray<int>();
        var targets = new int[kept.Length];
        Array.Fill(targets, -1);
        for (int h = 0; h < counts.Length; h++)
        {
            for (int i = 0; i < candidateCounts[h]; i++)
                targets[h * capacity + candidates[h * capacity + i]] = found[h * capacity + i];
        }
        return targets;
    }

    // Centres take over the gathered weight, and if asked the number, of what was merged into them.
    private void Gather(KvLayer layer, int[] targets)
    {
        int capacity = layer.Capacity;
        for (int h = 0; h < layer.Cells.Count; h++)
        {
            KvCell cell = layer.Cells[h];
            var members = new double[cell.Length];
            for (int slot = 0; slot < cell.Length; slot++)
            {
                int target = targets[h * capacity + slot];
                if (target < 0)
                    continue;
                cell.Statistics[target] += cell.Statistics[slot];
                members[target] += Math.Exp(cell.Biases[slot]);
            }
            for (int slot = 0; CountsMembers && slot < cell.Length; slot++)
            {
                if (members[slot] > 0)
                    layer.SetBias(h, slot, (float)Math.Log(Math.Exp(cell.Biases[slot]) + members[slot]));
            }
        }
    }
}
