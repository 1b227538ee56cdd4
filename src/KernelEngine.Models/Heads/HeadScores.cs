using System.Globalization;

namespace KernelEngine.Models.Heads;

/// <summary>
/// One number for each head of each layer: how much the head needs its whole cache. Columns are key/value heads, or query heads
/// until <see cref="MaxOverGroups"/> joins those that share a key/value head.
/// </summary>
public sealed class HeadScores
{
    private readonly double[] _values;

    /// <summary>Scores of all heads, zero at first.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A count is out of range.</exception>
    public HeadScores(int numLayers, int numHeads)
    {
        if (numLayers is < 1 or > ModelDescription.MaxLayers)
            throw OutOfRange(nameof(numLayers), numLayers, ModelDescription.MaxLayers);
        if (numHeads is < 1 or > ModelDescription.MaxHiddenSize)
            throw OutOfRange(nameof(numHeads), numHeads, ModelDescription.MaxHiddenSize);
        (NumLayers, NumHeads, _values) = (numLayers, numHeads, new double[numLayers * numHeads]);
    }

    /// <summary>Layers: rows.</summary>
    public int NumLayers { get; }

    /// <summary>Heads of a layer: columns.</summary>
    public int NumHeads { get; }

    /// <summary>The score of a head.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such head.</exception>
    public double this[int layer, int head]
    {
        get => _values[IndexOf(layer, head)];
        set => _values[IndexOf(layer, head)] = value;
    }

    /// <summary>Reads a table of scores (see <see cref="HeadScoreTable"/>).</summary>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    /// <exception cref="ModelFormatException">The file is no such table.</exception>
    public static HeadScores Load(string path)
    {
        using var source = Formats.ByteSource.Open(path);
        return HeadScoreTable.Read(source);
    }

    /// <summary>Writes a table that <see cref="Load"/> reads back exactly; an old file gives way when the new one is whole.</summary>
    public void Save(string path) => Formats.AtomicFile.Write(path, stream =>
    {
        using var writer = new StreamWriter(stream, leaveOpen: true);
        for (int layer = 0; layer < NumLayers; layer++)
        {
            IEnumerable<string> row = Row(layer).ToArray().Select(value => value.ToString("R", CultureInfo.InvariantCulture));
            writer.Write(string.Join('\t', row) + "\n");
        }
    });

    /// <summary>
    /// Joins neighbouring columns: from query heads to the key/value heads that they share, with the largest score of a group.
    /// </summary>
    /// <exception cref="ArgumentException">The heads do not divide into so many groups.</exception>
    public HeadScores MaxOverGroups(int numKvHeads) => OverGroups(numKvHeads, Max);

    /// <summary>As <see cref="MaxOverGroups"/>, with the mean of a group.</summary>
    /// <exception cref="ArgumentException">The heads do not divide into so many groups.</exception>
    public HeadScores MeanOverGroups(int numKvHeads) => OverGroups(numKvHeads, Mean);

    /// <summary>Scores changed one by one; a measure that is small for heads which need everything is so turned round.</summary>
    public HeadScores Map(Func<double, double> change)
    {
        ArgumentNullException.ThrowIfNull(change);
        var mapped = new HeadScores(NumLayers, NumHeads);
        for (int i = 0; i < _values.Length; i++)
            mapped._values[i] = change(_values[i]);
        return mapped;
    }

    /// <summary>
    /// The heads that keep everything, by the rule of DuoAttention (Xiao et al. 2024, arXiv:2410.10819): with the threshold at the
    /// quantile 1 − fraction of all scores (interpolated between the two nearest), those at or above it. The paper adds noise so
    /// that no two scores are equal; here of equals the earlier layer comes first, and in a layer the earlier head.
    /// </summary>
    /// <param name="fraction">0 for no head, 1 for all.</param>
    /// <exception cref="ArgumentOutOfRangeException">The fraction is not from 0 to 1.</exception>
    public HeadSelection SelectFullHeads(double fraction)
    {
        if (!(fraction is >= 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(fraction), fraction, "The fraction must be 0 to 1.");
        // In ascending order the threshold lies at rank (1 − fraction) · (n − 1): heads from there on reach it. The rounding of the
        // product must not push a threshold that is meant to be a head's own score past that head.
        double threshold = (1 - fraction) * (_values.Length - 1);
        int below = Math.Abs(threshold - Math.Round(threshold)) < 1e-9 ? (int)Math.Round(threshold) : (int)Math.Ceiling(threshold);
        return SelectBest(fraction == 0 ? 0 : _values.Length - below);
    }

    /// <summary>The heads with the highest scores; of equals the earlier layer comes first, and in a layer the earlier head.</summary>
    /// <param name="count">How many.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are not that many.</exception>
    public HeadSelection SelectBest(int count)
    {
        if (count < 0 || count > _values.Length)
            throw new ArgumentOutOfRangeException(nameof(count), count, $"There are {_values.Length} heads.");
        var isFull = new bool[_values.Length];
        foreach (int index in Enumerable.Range(0, _values.Length).OrderByDescending(i => _values[i]).Take(count)) // a stable order
            isFull[index] = true;
        return new HeadSelection(NumLayers, NumHeads, isFull);
    }

    internal Span<double> Row(int layer) => _values.AsSpan(IndexOf(layer, 0), NumHeads);

    private HeadScores OverGroups(int numKvHeads, Func<ReadOnlySpan<double>, double> join)
    {
        if (numKvHeads < 1 || NumHeads % numKvHeads != 0)
        {
            throw new ArgumentException(
                $"numHeads must be a multiple of numKvHeads but {NumHeads} is no multiple of {numKvHeads}.", nameof(numKvHeads));
        }
        int groupSize = NumHeads / numKvHeads;
        var joined = new HeadScores(NumLayers, numKvHeads);
        for (int layer = 0; layer < NumLayers; layer++)
        {
            for (int head = 0; head < numKvHeads; head++)
                joined[layer, head] = join(Row(layer).Slice(head * groupSize, groupSize));
        }
        return joined;
    }

    private static double Max(ReadOnlySpan<double> values)
    {
        double max = values[0];
        foreach (double value in values)
            max = Math.Max(max, value);
        return max;
    }

    private static double Mean(ReadOnlySpan<double> values)
    {
        double sum = 0;
        foreach (double value in values)
            sum += value;
        return sum / values.Length;
    }

    private int IndexOf(int layer, int head)
    {
        if (layer < 0 || layer >= NumLayers)
            throw new ArgumentOutOfRangeException(nameof(layer), layer, $"There are {NumLayers} layers.");
        if (head < 0 || head >= NumHeads)
            throw new ArgumentOutOfRangeException(nameof(head), head, $"There are {NumHeads} heads.");
        return layer * NumHeads + head;
    }

    private static ArgumentOutOfRangeException OutOfRange(string name, int value, int max) =>
        new(name, value, $"{name} must be 1 to {max}.");
}
