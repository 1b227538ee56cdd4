namespace KernelEngine;

/// <summary>Patterns that depend on what is attended, chosen exactly and on the host: the reference for faster selectors.</summary>
public static class DynamicPatterns
{
    /// <summary>The keys with the highest scores of each row; of equal scores the later key is taken.</summary>
    /// <param name="scores">[batchSize, numHeads, rows, keys] of <paramref name="shape"/>, whose blocks are of 1.</param>
    /// <param name="shape">Sizes and causality.</param>
    /// <param name="count">Keys of a row; all that it may see where those are fewer.</param>
    /// <exception cref="ArgumentException">Scores and shape do not fit.</exception>
    public static AttentionPattern TopK(ReadOnlyMemory<float> scores, PatternShape shape, int count)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        shape.Validate();
        long needed = (long)shape.BatchSize * shape.NumHeads * shape.Rows * shape.Keys;
        if (scores.Length != needed || shape.RowBlock != 1 || shape.KeyBlock != 1)
            throw new ArgumentException($"Scores of single rows and keys must be {needed} but are {scores.Length}, in blocks of {shape.RowBlock} × {shape.KeyBlock}.", nameof(scores));
        return new AttentionPattern(shape, (batch, head, row) =>
        {
            KeyRange range = shape.RangeOf(head, row);
            float[] all = scores.Slice(((batch * shape.NumHeads + head) * shape.Rows + row) * shape.Keys, shape.Keys).ToArray();
            return Highest(Enumerable.Range(0, shape.Keys).Where(range.Contains), key => all[key], count);
        });
    }

    /// <summary>
    /// LongHeads (Lu et al. 2024, arXiv:2402.10685): each row of each head sees the first chunk, the one before its own, its own up to
    /// itself, and those whose representative has the highest product with its query, <paramref name="chunks"/> in all. Causal; the last
    /// row sees the last key. A gather of keys: their positions are those of the sequence, where the paper numbers them anew.
    /// </summary>
    /// <param name="query">[rows, numHeads, headDim]</param>
    /// <param name="representatives">[⌈keys / chunkSize⌉, numHeads, headDim], those of <see cref="ChunkRepresentatives"/></param>
    /// <param name="rows">Query rows.</param>
    /// <param name="keys">Keys.</param>
    /// <param name="numHeads">Heads.</param>
    /// <param name="chunkSize">Keys of a chunk.</param>
    /// <param name="chunks">Chunks that a row sees, its own among them; at least 3.</param>
    /// <exception cref="ArgumentException">Sizes do not fit.</exception>
    public static AttentionPattern LongHeads(
        ReadOnlyMemory<float> query, ReadOnlyMemory<float> representatives, int rows, int keys, int numHeads, int chunkSize = 256, int chunks = 16)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(chunks, 3);
        var shape = new PatternShape(numHeads, rows, keys, 1, chunkSize) { IsCausal = true };
        shape.Validate();
        int headDim = rows == 0 ? 0 : query.Length / rows / numHeads;
        if (query.Length != (long)rows * numHeads * headDim || representatives.Length != (long)shape.KeyBlocks * numHeads * headDim)
        {
            throw new ArgumentException(
                $"Representatives must have shape [{shape.KeyBlocks}, {numHeads}, {headDim}] beside {query.Length} elements of {rows} query rows, "
                + $"but have {representatives.Length}.", nameof(representatives));
        }
        return new AttentionPattern(shape, (_, head, row) =>
        {
            int position = row + keys - rows, own = position / chunkSize;
            if (position < 0)
                return [];
            float[] q = query.Slice((row * numHeads + head) * headDim, headDim).ToArray();
            return Highest(Enumerable.Range(0, own + 1), chunk => chunk == 0 || chunk >= own - 1
                ? double.PositiveInfinity
                : Dot(q, representatives.Span.Slice((chunk * numHeads + head) * headDim, headDim)), chunks);
        });
    }

    /// <summary>
    /// LongHeads' representative of each chunk and head: the mean of the chunk's attention to itself (not causal) is the query of one more
    /// attention over its keys, κ = Σ softmax(mean · k / √headDim) · k.
    /// </summary>
    /// <param name="query">[length, numHeads, headDim]</param>
    /// <param name="key">[length, numHeads, headDim]</param>
    /// <param name="value">[length, numHeads, headDim]</param>
    /// <param name="length">Tokens.</param>
    /// <param name="numHeads">Heads.</param>
    /// <param name="chunkSize">Tokens of a chunk.</param>
    /// <returns>[⌈length / chunkSize⌉, numHeads, headDim]</returns>
    /// <exception cref="ArgumentException">The tensors differ in size.</exception>
    public static float[] ChunkRepresentatives(
        ReadOnlySpan<float> query, ReadOnlySpan<float> key, ReadOnlySpan<float> value, int length, int numHeads, int chunkSize = 256)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(numHeads, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(chunkSize, 1);
        int headDim = length == 0 ? 0 : query.Length / length / numHeads, chunks = (length + chunkSize - 1) / chunkSize;
        if (query.Length != (long)length * numHeads * headDim || key.Length != query.Length || value.Length != query.Length)
            throw new ArgumentException($"Query, key and value of {length} tokens have {query.Length}, {key.Length} and {value.Length} elements.", nameof(key));
        var result = new float[chunks * numHeads * headDim];
        var mean = new float[headDim];
        var output = new float[headDim];
        for (int i = 0; i < chunks * numHeads; i++)
        {
            int first = i / numHeads * chunkSize, end = Math.Min(length, first + chunkSize), head = i % numHeads;
            Array.Clear(mean);
            for (int row = first; row < end; row++)
            {
                Attend(query.Slice((row * numHeads + head) * headDim, headDim), key, value, first, end, head, numHeads, output);
                for (int c = 0; c < headDim; c++)
                    mean[c] += output[c] / (end - first);
            }
            Attend(mean, key, key, first, end, head, numHeads, result.AsSpan(i * headDim, headDim));
        }
        return result;
    }

    private static void Attend(
        ReadOnlySpan<float> query, ReadOnlySpan<float> key, ReadOnlySpan<float> value, int first, int end, int head, int numHeads, Span<float> output)
    {
        int headDim = query.Length;
        var weights = new double[end - first];
        for (int j = first; j < end; j++)
            weights[j - first] = Dot(query, key.Slice((j * numHeads + head) * headDim, headDim)) / Math.Sqrt(headDim);
        double maximum = weights.Max(), total = 0;
        for (int j = 0; j < weights.Length; j++)
            total += weights[j] = Math.Exp(weights[j] - maximum);
        for (int c = 0; c < headDim; c++)
        {
            double sum = 0;
            for (int j = first; j < end; j++)
                sum += weights[j - first] * value[(j * numHeads + head) * headDim + c];
            output[c] = (float)(sum / total);
        }
    }

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int c = 0; c < a.Length; c++)
            sum += (double)a[c] * b[c];
        return sum;
    }

    // The items with the highest scores, ascending; of equal ones the later.
    internal static IEnumerable<int> Highest(IEnumerable<int> items, Func<int, double> score, int count) =>
        items.OrderByDescending(score).ThenByDescending(item => item).Take(count).Order();
}
