namespace KernelEngine;

/// <summary>Arrays of 4-byte elements that follow one another in a workspace, each on 16 bytes and none empty.</summary>
internal struct WorkspaceLayout
{
    /// <summary>Bytes of all arrays.</summary>
    public long Bytes { get; private set; }

    /// <summary>The byte where the next array begins.</summary>
    public long Add(long elements)
    {
        long begin = Bytes;
        Bytes = checked(begin + (Math.Max(1, elements) + 3) / 4 * 16);
        return begin;
    }
}
