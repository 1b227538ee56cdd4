namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// Counts the passes a warp's access to shared memory takes beyond those its width needs. Memory has 32 banks of four bytes; a pass serves
/// one word of each bank to any number of lanes. Accesses of 8 bytes are served for half a warp at a time, of 16 bytes for a quarter.
/// </summary>
internal ref struct BankConflicts(int bytesOfLane)
{
    private const int Banks = 32;
    private const int WordBytes = 4;

    private AddressList _addresses;
    private uint _lanes;

    public void Add(int lane, ulong address)
    {
        _addresses[lane] = (uint)address;
        _lanes |= 1U << lane;
    }

    /// <summary>The passes too many.</summary>
    public int Count()
    {
        if (_lanes == 0)
            return 0;
        int words = Math.Max(1, bytesOfLane / WordBytes);
        int lanesOfGroup = Math.Max(1, Warp.Lanes / words);
        int extra = 0;
        for (int first = 0; first < Warp.Lanes; first += lanesOfGroup)
            extra += Math.Max(0, Passes(first, lanesOfGroup, words) - 1);
        return extra;
    }

    private readonly int Passes(int first, int lanes, int words)
    {
        Span<uint> seen = stackalloc uint[Warp.Lanes * 8];
        Span<int> passesOfBank = stackalloc int[Banks];
        int count = 0;
        int passes = 0;
        for (int lane = first; lane < first + lanes; lane++)
        {
            if ((_lanes >> lane & 1) == 0)
                continue;
            for (int i = 0; i < words; i++)
            {
                uint word = _addresses[lane] / WordBytes + (uint)i;
                if (seen[..count].Contains(word))
                    continue;
                seen[count++] = word;
                passes = Math.Max(passes, ++passesOfBank[(int)(word % Banks)]);
            }
        }
        return passes;
    }

    [System.Runtime.CompilerServices.InlineArray(Warp.Lanes)]
    private struct AddressList
    {
        private uint _first;
    }
}
