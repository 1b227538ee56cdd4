namespace KernelEngine;

/// <summary>
/// The keys that causality, windows, chunks and sinks leave to one query row: 0 .. SinkEnd − 1 and First .. End − 1, with
/// SinkEnd ≤ First ≤ End. Masks with a bit for every key come on top.
/// </summary>
/// <param name="SinkEnd">One past the last of the first keys that stay visible outside the window; 0 when they touch it.</param>
/// <param name="First">The first key of the window.</param>
/// <param name="End">One past its last.</param>
public readonly record struct KeyRange(int SinkEnd, int First, int End)
{
    /// <summary>Keys in both parts.</summary>
    public int Count => SinkEnd + End - First;

    /// <summary>Whether key <paramref name="j"/> is in one of them.</summary>
    public bool Contains(int j) => (j >= 0 && j < SinkEnd) || (j >= First && j < End);
}
