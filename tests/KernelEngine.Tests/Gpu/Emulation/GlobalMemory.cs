namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// Device memory. Every allocation has 4 GiB of address space to itself, so each wrong address meets a guard zone, and its start has
/// exactly the alignment asked for, no more.
/// </summary>
internal sealed class GlobalMemory
{
    private const int SlotBits = 32;

    // No allocation lies in the first slots: a null pointer and small numbers hit nothing.
    private const int FirstSlot = 16;

    private readonly List<(ulong Start, byte[] Bytes)> _allocations = [];
    private readonly List<(ulong Start, long Bytes)> _mapped = [];

    /// <summary>Reserves bytes full of NaN patterns.</summary>
    public ulong Allocate(long bytes, int alignment)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        if (alignment <= 0 || (alignment & alignment - 1) != 0)
            throw new ArgumentException($"alignment must be a power of two but is {alignment}", nameof(alignment));
        ulong start = ((ulong)(FirstSlot + _allocations.Count) << SlotBits) + (ulong)alignment;
        var data = new byte[bytes];
        Array.Fill(data, byte.MaxValue);
        _allocations.Add((start, data));
        return start;
    }

    /// <summary>Takes memory of this process for device memory.</summary>
    public void Map(ulong address, long bytes)
    {
        _mapped.RemoveAll(m => m.Start < address + (ulong)bytes && address < m.Start + (ulong)m.Bytes); // freed since
        _mapped.Add((address, bytes));
    }

    /// <summary>The bytes at an address, if all of them lie in one allocation.</summary>
    public bool TryGet(ulong address, long bytes, out Span<byte> span)
    {
        ulong slot = (address >> SlotBits) - FirstSlot;
        if (slot < (ulong)_allocations.Count)
        {
            (ulong start, byte[] data) = _allocations[(int)slot];
            if (address >= start && address - start + (ulong)bytes <= (ulong)data.Length)
            {
                span = data.AsSpan((int)(address - start), (int)bytes);
                return true;
            }
        }
        foreach ((ulong start, long size) in _mapped)
        {
            if (address < start || address - start + (ulong)bytes > (ulong)size)
                continue;
            unsafe
            {
                span = new Span<byte>((void*)address, (int)bytes);
            }
            return true;
        }
        span = default;
        return false;
    }

    /// <summary>What lies at an address no access may touch.</summary>
    public string Describe(ulong address)
    {
        ulong slot = (address >> SlotBits) - FirstSlot;
        if (slot >= (ulong)_allocations.Count)
            return "in no allocation";
        (ulong start, byte[] data) = _allocations[(int)slot];
        long offset = (long)(address - start);
        return $"at byte {offset} of allocation {slot}, which has {data.Length} bytes";
    }
}
