namespace KernelEngine.Models.Heads;

/// <summary>Measures of attention, averaged over the rows of each query head. One row is in memory at a time and thread.</summary>
internal static class AttentionRows
{
    /// <summary>The mean over the tokens from <paramref name="firstToken"/> on of a measure of their attention rows [token + 1].</summary>
    public static HeadScores Average(ModelCapture capture, int firstToken, Func<ReadOnlySpan<double>, double> measure)
    {
        int length = capture.Layers[0].Length;
        if (firstToken < 0 || firstToken >= length)
        {
            throw new ArgumentException(
                $"The text must have more than {firstToken} tokens, which are not measured, but has {length}.", nameof(capture));
        }
        HeadScores scores = CreateScores(capture.Description);
        Parallel.For(0, scores.NumLayers * scores.NumHeads, index =>
        {
            (int layer, int head) = Math.DivRem(index, scores.NumHeads);
            var weights = new double[length];
            double sum = 0;
            for (int token = firstToken; token < length; token++)
            {
                Span<double> row = weights.AsSpan(0, token + 1);
                capture.Layers[layer].Weigh(token, head, row);
                sum += measure(row);
            }
            scores[layer, head] = sum / (length - firstToken);
        });
        return scores;
    }

    /// <summary>Zero for each query head of a model.</summary>
    /// <exception cref="NotSupportedException">The layers differ in heads.</exception>
    public static HeadScores CreateScores(ModelDescription description)
    {
        LayerDescription first = description.Layers[0];
        return description.Layers.All(layer => layer.NumHeads == first.NumHeads && layer.NumKvHeads == first.NumKvHeads)
            ? new HeadScores(description.Layers.Length, first.NumHeads)
            : throw new NotSupportedException("Heads can be scored where every layer has the same number of them.");
    }
}
