namespace KernelEngine.Models.Heads;

/// <summary>Which key/value heads keep everything.</summary>
public sealed class HeadSelection
{
    private readonly bool[] _isFull;

    internal HeadSelection(int numLayers, int numHeads, bool[] isFull) => (NumLayers, NumHeads, _isFull) = (numLayers, numHeads, isFull);

    /// <summary>Layers.</summary>
    public int NumLayers { get; }

    /// <summary>Heads of a layer.</summary>
    public int NumHeads { get; }

    /// <summary>Heads that keep everything.</summary>
    public int Count => _isFull.Count(isFull => isFull);

    /// <summary>The share of heads that keep everything: as near to what was asked for as whole heads come.</summary>
    public double Fraction => (double)Count / _isFull.Length;

    /// <summary>Whether a head keeps everything; fits <see cref="KvPolicySettings.IsFullHead"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such head.</exception>
    public bool IsFull(int layer, int head)
    {
        if (layer < 0 || layer >= NumLayers)
            throw new ArgumentOutOfRangeException(nameof(layer), layer, $"There are {NumLayers} layers.");
        if (head < 0 || head >= NumHeads)
            throw new ArgumentOutOfRangeException(nameof(head), head, $"There are {NumHeads} heads.");
        return _isFull[layer * NumHeads + head];
    }

    /// <summary>Heads that are in one of two selections of the same model.</summary>
    /// <exception cref="ArgumentException">The models differ in layers or heads.</exception>
    public HeadSelection Union(HeadSelection other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.NumLayers != NumLayers || other.NumHeads != NumHeads)
        {
            throw new ArgumentException(
                $"other must have shape [numLayers={NumLayers}, numHeads={NumHeads}] but has [{other.NumLayers}, {other.NumHeads}].",
                nameof(other));
        }
        return new HeadSelection(NumLayers, NumHeads, [.. _isFull.Zip(other._isFull, (mine, its) => mine || its)]);
    }
}
