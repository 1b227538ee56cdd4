namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// A fast source of numbers with mean 0 and variance 1: four 16-bit uniform numbers of one xorshift step (Vigna 2016,
/// arXiv:1402.6246) added up.
/// </summary>
public struct NormalRandom(ulong seed)
{
    private const float Scale = 1.7320508f / 65536; // the sum of four uniform numbers has the variance 1/3
    private ulong _state = seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D;

    public float Next()
    {
        _state ^= _state >> 12;
        _state ^= _state << 25;
        _state ^= _state >> 27;
        ulong bits = _state * 0x2545F4914F6CDD1D;
        int sum = (ushort)bits + (ushort)(bits >> 16) + (ushort)(bits >> 32) + (ushort)(bits >> 48);
        return (sum - 131070) * Scale;
    }
}
