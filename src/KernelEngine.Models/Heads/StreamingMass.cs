namespace KernelEngine.Models.Heads;

/// <summary>
/// How much of its attention a head spends on what a streaming cache keeps: the first tokens and the latest. A head with little needs
/// its whole cache.
/// </summary>
public static class StreamingMass
{
    /// <summary>
    /// The weight of keys j &lt; sinkCount or i − j &lt; recentCount in the attention of query i, averaged over the queries that see more
    /// than those, i ≥ sinkCount + recentCount, and over the query heads of each key/value head: 0 to 1.
    /// </summary>
    /// <param name="capture">A text that was read.</param>
    /// <param name="sinkCount">First tokens.</param>
    /// <param name="recentCount">Latest tokens, the query's own among them.</param>
    /// <exception cref="ArgumentException">The text has no query that sees more.</exception>
    public static HeadScores Measure(ModelCapture capture, int sinkCount = 4, int recentCount = 32)
    {
        ArgumentNullException.ThrowIfNull(capture);
        ArgumentOutOfRangeException.ThrowIfNegative(sinkCount);
        ArgumentOutOfRangeException.ThrowIfNegative(recentCount);
        return AttentionRows.Average(capture, checked(sinkCount + recentCount), row =>
        {
            double mass = 0;
            for (int j = 0; j < row.Length; j++)
                mass += j < sinkCount || row.Length - 1 - j < recentCount ? row[j] : 0;
            return mass;
        }).MeanOverGroups(capture.Description.Layers[0].NumKvHeads);
    }
}
