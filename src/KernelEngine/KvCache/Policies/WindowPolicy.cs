namespace KernelEngine;

/// <summary>
/// What policies have in common that choose by position alone: each cell keeps all, or its first tokens and its last. Such a cell is
/// a ring, so that a step of decoding moves nothing.
/// </summary>
public abstract class WindowPolicy : KvPolicy
{
    /// <summary>Drops as early as it can: after each chunk of a prompt, and with each token after it.</summary>
    protected WindowPolicy() => Phases = KvPhases.PrefillChunk | KvPhases.Decode;

    /// <summary>The first and the last tokens that a cell keeps; null for all.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="cell">The key/value head.</param>
    protected abstract (int SinkCount, int RecentCount)? Window(int layer, int cell);

    /// <inheritdoc/>
    public override int? MaxSlots(int layer, int cell) => Window(layer, cell) is { } window ? window.SinkCount + window.RecentCount : null;

    /// <inheritdoc/>
    public override void Begin(KvLayer layer)
    {
        if ((Phases & KvPhases.PrefillChunk) != 0)
            SetRings(layer);
    }

    /// <inheritdoc/>
    public override void Evict(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        if (step.Phase != KvPhases.PrefillEnd || (Phases & KvPhases.PrefillChunk) != 0)
            return; // rings see to themselves
        var kept = new int[step.Layer.Cells.Count][];
        for (int h = 0; h < kept.Length; h++)
        {
            if (WindowOf(step.Layer, h) is not { } window)
                continue;
            int length = step.Layer.Cells[h].Length, sinks = Math.Min(window.SinkCount, length), recent = Math.Min(window.RecentCount, length - sinks);
            kept[h] = [.. Enumerable.Range(0, sinks), .. Enumerable.Range(length - recent, recent)];
        }
        step.Layer.Keep(kept);
        if ((Phases & KvPhases.Decode) != 0)
            SetRings(step.Layer);
    }

    private void SetRings(KvLayer layer)
    {
        for (int h = 0; h < layer.Cells.Count; h++)
        {
            if (WindowOf(layer, h) is { } window)
                layer.SetRing(h, window.SinkCount, window.RecentCount);
        }
    }

    // Null for a cell that keeps all, and for one that is a ring since an earlier prompt.
    private (int SinkCount, int RecentCount)? WindowOf(KvLayer layer, int cell) =>
        AppliesTo(layer.Index, cell) && !layer.Cells[cell].IsRing ? Window(layer.Index, cell) : null;
}
