using System.Runtime.InteropServices;

namespace KernelEngine.Models.Heads;

/// <summary>
/// Queries, keys and values of one layer for the tokens of one sequence, on the host, row by row: [tokens, heads, headDim]. Queries and
/// keys are those before the rotary embedding; <see cref="Turn"/> turns a row to its position.
/// </summary>
public sealed class CapturedLayer
{
    private readonly List<float> _query = [], _key = [], _value = [], _turnedKey = [];
    private readonly double[] _frequencies;

    internal CapturedLayer(LayerDescription description)
    {
        Description = description;
        _frequencies = description.Rotary is { } rotary
            ? RotaryTables.CreateFrequencies(rotary.Dimensions, rotary.Base, rotary.Scaling)
            : [];
    }

    /// <summary>The sizes.</summary>
    public LayerDescription Description { get; }

    /// <summary>Tokens.</summary>
    public int Length => _key.Count / (Description.NumKvHeads * Description.HeadDim);

    /// <summary>The query of a token, [headDim], as projected.</summary>
    public ReadOnlySpan<float> Query(int token, int head) => Row(_query, token, head, Description.NumHeads, Description.HeadDim);

    /// <summary>The key of a token, [headDim], as projected.</summary>
    public ReadOnlySpan<float> Key(int token, int kvHead) => Row(_key, token, kvHead, Description.NumKvHeads, Description.HeadDim);

    /// <summary>The key of a token, [headDim], turned to its position.</summary>
    public ReadOnlySpan<float> TurnedKey(int token, int kvHead) =>
        Row(_turnedKey, token, kvHead, Description.NumKvHeads, Description.HeadDim);

    /// <summary>The value of a token, [valueHeadDim].</summary>
    public ReadOnlySpan<float> Value(int token, int kvHead) => Row(_value, token, kvHead, Description.NumKvHeads, Description.ValueHeadDim);

    /// <summary>Turns a query or key to its position, in place.</summary>
    public void Turn(Span<float> row, int position)
    {
        for (int pair = 0; pair < _frequencies.Length; pair++)
        {
            (int first, int second) = Description.Rotary!.PairAt(pair);
            (double sin, double cos) = Math.SinCos(position * _frequencies[pair]);
            (double x, double y) = (row[first], row[second]);
            (row[first], row[second]) = ((float)(x * cos - y * sin), (float)(x * sin + y * cos));
        }
    }

    /// <summary>
    /// The attention of one query: its weights on the tokens up to its own, computed in double. Takes memory for one row.
    /// </summary>
    /// <param name="token">The query's token.</param>
    /// <param name="head">The query head.</param>
    /// <param name="weights">[token + 1], written</param>
    public void Weigh(int token, int head, Span<double> weights)
    {
        int kvHead = head / (Description.NumHeads / Description.NumKvHeads), headDim = Description.HeadDim;
        ReadOnlySpan<float> keys = CollectionsMarshal.AsSpan(_turnedKey);
        Weigh(token, head, keys[Math.Min(keys.Length, kvHead * headDim)..], Description.NumKvHeads * headDim, weights);
    }

    /// <summary>As the other, over other keys, already turned; one begins every <paramref name="stride"/> elements.</summary>
    internal void Weigh(int token, int head, ReadOnlySpan<float> turnedKeys, int stride, Span<double> weights)
    {
        if (weights.Length != token + 1)
            throw new ArgumentException($"weights must have {token + 1} elements but has {weights.Length}.", nameof(weights));
        Span<float> query = stackalloc float[Description.HeadDim];
        Query(token, head).CopyTo(query);
        Turn(query, token);
        double scale = Description.AttentionScale ?? 1 / Math.Sqrt(Description.HeadDim), max = double.NegativeInfinity, sum = 0;
        for (int i = 0; i <= token; i++)
        {
            weights[i] = scale * Dot(query, turnedKeys.Slice(i * stride, query.Length));
            max = Math.Max(max, weights[i]);
        }
        for (int i = 0; i <= token; i++)
            sum += weights[i] = Math.Exp(weights[i] - max);
        for (int i = 0; i <= token; i++)
            weights[i] /= sum;
    }

    internal void Append(TensorView query, TensorView key, TensorView value)
    {
        int token = Length, numKvHeads = Description.NumKvHeads, headDim = Description.HeadDim;
        _query.AddRange(query.ToArray<float>());
        float[] keys = key.ToArray<float>();
        _key.AddRange(keys);
        _value.AddRange(value.ToArray<float>());
        for (int i = 0; i < keys.Length; i += headDim)
            Turn(keys.AsSpan(i, headDim), token + i / (numKvHeads * headDim));
        _turnedKey.AddRange(keys);
    }

    internal void Truncate(int length)
    {
        Cut(_query, length * Description.NumHeads * Description.HeadDim);
        Cut(_key, length * Description.NumKvHeads * Description.HeadDim);
        Cut(_turnedKey, length * Description.NumKvHeads * Description.HeadDim);
        Cut(_value, length * Description.NumKvHeads * Description.ValueHeadDim);
    }

    private static void Cut(List<float> rows, int count) => rows.RemoveRange(count, rows.Count - count);

    internal static double Dot(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        double sum = 0;
        for (int i = 0; i < x.Length; i++)
            sum += (double)x[i] * y[i];
        return sum;
    }

    private static ReadOnlySpan<float> Row(List<float> rows, int token, int head, int heads, int width)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(head);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(head, heads);
        return CollectionsMarshal.AsSpan(rows).Slice((token * heads + head) * width, width);
    }
}
