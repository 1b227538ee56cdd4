namespace KernelEngine.Models.Heads;

/// <summary>
/// RazorAttention's two scores (Tang et al. 2024, arXiv:2407.15891) of a text that repeats a segment of random tokens: what a token's
/// attention spends on the earlier occurrences of the same token (echo) and on what followed them (induction), averaged over the
/// tokens of all repeats but the first. The heads that need everything are the best 14 % by induction with the best 1 % by echo.
/// </summary>
public static class RepetitionScores
{
    /// <summary>Tokens of a text: the prefix, then a segment several times.</summary>
    /// <param name="prefix">Tokens that begin the text, such as the model's own begin token.</param>
    /// <param name="segment">At least two tokens; the published length is 2500.</param>
    /// <param name="repeats">How often the segment stands there, at least twice.</param>
    public static int[] CreateText(ReadOnlySpan<int> prefix, ReadOnlySpan<int> segment, int repeats = 4)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(repeats, 2);
        if (segment.Length < 2)
            throw new ArgumentException($"A segment must have at least 2 tokens but has {segment.Length}.", nameof(segment));
        var tokens = new int[checked(prefix.Length + segment.Length * repeats)];
        prefix.CopyTo(tokens);
        for (int i = 0; i < repeats; i++)
            segment.CopyTo(tokens.AsSpan(prefix.Length + i * segment.Length));
        return tokens;
    }

    /// <summary>The echo score of each key/value head: the largest of the query heads that share it.</summary>
    /// <param name="capture">A text of <see cref="CreateText"/> that was read.</param>
    /// <param name="prefixLength">Tokens before the first segment.</param>
    /// <param name="segmentLength">Tokens of a segment.</param>
    public static HeadScores Echo(ModelCapture capture, int prefixLength, int segmentLength) =>
        Measure(capture, prefixLength, segmentLength, offset: 0);

    /// <summary>The induction score of each key/value head: the largest of the query heads that share it.</summary>
    /// <param name="capture">A text of <see cref="CreateText"/> that was read.</param>
    /// <param name="prefixLength">Tokens before the first segment.</param>
    /// <param name="segmentLength">Tokens of a segment.</param>
    public static HeadScores Induction(ModelCapture capture, int prefixLength, int segmentLength) =>
        Measure(capture, prefixLength, segmentLength, offset: 1);

    private static HeadScores Measure(ModelCapture capture, int prefixLength, int segmentLength, int offset)
    {
        ArgumentNullException.ThrowIfNull(capture);
        ArgumentOutOfRangeException.ThrowIfNegative(prefixLength);
        ArgumentOutOfRangeException.ThrowIfLessThan(segmentLength, 2);
        return AttentionRows.Average(capture, checked(prefixLength + segmentLength), row =>
        {
            double mass = 0;
            for (int j = row.Length - 1 - segmentLength; j >= prefixLength; j -= segmentLength)
                mass += row[j + offset];
            return mass;
        }).MaxOverGroups(capture.Description.Layers[0].NumKvHeads);
    }
}
