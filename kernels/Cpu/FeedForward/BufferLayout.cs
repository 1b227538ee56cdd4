namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>Buffers that follow one another in a workspace, each on 64 bytes.</summary>
internal struct BufferLayout(long bytes)
{
    /// <summary>The byte after all buffers.</summary>
    public long End { get; private set; } = checked(bytes + 63) / 64 * 64;

    /// <summary>The byte where the next buffer begins.</summary>
    public long Bytes(long bytes)
    {
        long begin = End;
        End = checked(begin + bytes + 63) / 64 * 64;
        return begin;
    }

    /// <summary>As <see cref="Bytes"/>, of so many floats.</summary>
    public long Floats(long count) => Bytes(checked(count * sizeof(float)));
}
