namespace KernelEngine;

/// <summary>
/// RazorAttention (Tang et al. 2024, arXiv:2407.15891): retrieval heads keep all; the others keep the first tokens, the last, and one
/// slot that stands for those between: the mean of their keys and values, with ln of their number added to its score.
/// </summary>
/// <param name="isFull">Whether the key/value head (layer, head) is a retrieval head.</param>
/// <param name="leastRecent">Last tokens that are kept at least: 4000 in the paper.</param>
/// <param name="ratio">The last 1 / ratio of all tokens are kept where that is more: 5 in the paper.</param>
/// <param name="sinkCount">First tokens that are kept: 4 in the paper.</param>
public sealed class RazorAttention(Func<int, int, bool> isFull, int leastRecent = 4000, int ratio = 5, int sinkCount = 4) : KvPolicy
{
    private readonly Func<int, int, bool> _isFull = isFull ?? throw new ArgumentNullException(nameof(isFull));

    /// <inheritdoc/>
    public override string Name => "razor";

    /// <summary>What the dropped tokens weigh.</summary>
    public RazorCompensation Compensation { get; init; }

    /// <inheritdoc/>
    public override void Evict(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        int recent = Math.Max(leastRecent, step.NumTokens / ratio), capacity = step.Layer.Capacity, numCells = step.Layer.Cells.Count;
        var targets = new int[numCells * capacity];
        var weights = new float[targets.Length];
        var kept = new int[numCells][];
        var dropped = new int[numCells];
        Array.Fill(targets, -1);
        for (int h = 0; h < numCells; h++)
        {
            KvCell cell = step.Layer.Cells[h];
            bool hasMean = HasMean(cell);
            int first = sinkCount + (hasMean ? 1 : 0), end = cell.Length - recent;
            if (_isFull(step.Layer.Index, h) || !step.AppliesTo(h) || end <= first)
                continue;
            Span<float> weight = weights.AsSpan(h * capacity, capacity);
            weight[sinkCount] = hasMean ? cell.Statistics[sinkCount] : 1f;
            for (int slot = sinkCount + 1; slot < end; slot++)
                (targets[h * capacity + slot], weight[slot]) = (sinkCount, 1f);
            dropped[h] = end - first + (hasMean ? (int)cell.Statistics[sinkCount] : 0);
            bool keepsMean = Compensation != RazorCompensation.Drop;
            kept[h] = [.. Enumerable.Range(0, sinkCount + (keepsMean ? 1 : 0)), .. Enumerable.Range(end, recent)];
        }
        if (dropped.All(count => count == 0))
            return;
        if (Compensation != RazorCompensation.Drop)
            step.Layer.Merge(targets, weights);
        step.Layer.Keep(kept);
        for (int h = 0; h < numCells && Compensation != RazorCompensation.Drop; h++)
        {
            if (dropped[h] == 0)
                continue;
            step.Layer.Cells[h].Statistics[sinkCount] = dropped[h];
            step.Layer.SetBias(h, sinkCount, Compensation == RazorCompensation.Count ? MathF.Log(dropped[h]) : 0f);
        }
    }

    // The statistic of the slot after the sinks is the number of tokens it stands for, and 0 for a token.
    private bool HasMean(KvCell cell) => cell.Length > sinkCount && cell.Statistics[sinkCount] > 0;
}
