namespace KernelEngine.Models.Sampling;

/// <summary>
/// The random numbers of sampling: xorshift64* (Vigna 2014, arXiv:1402.6246), the upper 32 of 64 bits. A sequence of tokens
/// has its own generator and takes exactly one number a drawn token, none when it is greedy: equal seeds, equal texts.
/// </summary>
public struct Xorshift64Star
{
    private const ulong StateForZero = 0x9E3779B97F4A7C15; // zero would stay zero for ever

    private ulong _state;

    /// <summary>Starts the sequence of a seed.</summary>
    public Xorshift64Star(ulong seed) => _state = seed == 0 ? StateForZero : seed;

    /// <summary>The next 32 random bits.</summary>
    public uint NextUInt32()
    {
        if (_state == 0)
            _state = StateForZero;
        _state ^= _state >> 12;
        _state ^= _state << 25;
        _state ^= _state >> 27;
        return (uint)((_state * 0x2545F4914F6CDD1D) >> 32);
    }

    /// <summary>The next random number, at least 0 and below 1, a multiple of 2^−24.</summary>
    public float NextSingle() => (NextUInt32() >> 8) / 16777216f;
}
