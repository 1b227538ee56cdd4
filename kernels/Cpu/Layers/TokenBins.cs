using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// The tokens of one row in order of probability, without sorting the row: a histogram over z = (max − logit) · log2(e) / T,
/// in octaves below the most probable token, holds each bin's count and weight, and only the bins in which a cut falls are
/// sorted. Every filter and the draw itself is one question: after which token does a cumulative count or weight first
/// exceed a number. All memory is the caller's.
/// </summary>
internal unsafe struct TokenBins
{
    // A sixteenth of an octave a bin, 128 octaves: what lies beyond weighs nothing in float32 and shares the last bin.
    private const float BinsPerOctave = 16;
    private const int BinCount = 2048;

    private readonly float* _logits;
    private readonly int _size;
    private readonly float _max;
    private readonly float _scale;
    private readonly double* _sums;
    private readonly ulong* _sorted;
    private readonly float* _weights;
    private readonly int* _counts;
    private readonly ushort* _bins;
    private int _sortedBin = -1;

    /// <summary>Begins a row whose largest logit is <paramref name="max"/>, a finite number.</summary>
    public TokenBins(float* logits, int size, float max, float scale, void* workspace)
    {
        _logits = logits;
        (_size, _max, _scale) = (size, max, scale);
        _sums = (double*)workspace;
        _sorted = (ulong*)(_sums + BinCount);
        _counts = (int*)(_sorted + size);
        _weights = (float*)(_counts + BinCount);
        _bins = (ushort*)(_weights + size);
        new Span<double>(_sums, BinCount).Clear();
        new Span<int>(_counts, BinCount).Clear();
    }

    /// <summary>Workspace of a row of <paramref name="size"/> logits.</summary>
    public static long GetWorkspaceBytes(long size) =>
        BinCount * (sizeof(double) + sizeof(int)) + size * (sizeof(ulong) + sizeof(float) + sizeof(ushort));

    /// <summary>Counts tokens first .. first + count − 1, whose z and weight 2^−z are given.</summary>
    public readonly void Add(int first, int count, float* z, float* weights)
    {
        for (int i = 0; i < count; i++)
        {
            int token = first + i;
            _weights[token] = weights[i];
            if (_logits[token] == float.NegativeInfinity)
            {
                _bins[token] = BinCount; // in no bin: never drawn
                continue;
            }
            int bin = BinOf(z[i]);
            _bins[token] = (ushort)bin;
            _counts[bin]++;
            _sums[bin] += weights[i];
        }
    }

    /// <summary>The prefix of all tokens that can be drawn.</summary>
    public readonly TokenPrefix All()
    {
        int last = 0;
        double weight = 0;
        for (int bin = 0; bin < BinCount; bin++)
        {
            weight += _sums[bin];
            if (_counts[bin] > 0)
                last = bin;
        }
        return new TokenPrefix(last, _counts[last], weight);
    }

    /// <summary>The first <paramref name="count"/> tokens of <paramref name="prefix"/>, or all of it when it has fewer.</summary>
    public TokenPrefix TakeCount(in TokenPrefix prefix, int count)
    {
        double weight = 0;
        for (int bin = 0; bin <= prefix.Bin; bin++)
        {
            int available = bin == prefix.Bin ? prefix.CountInBin : _counts[bin];
            if (count <= available)
                return TakeInBin(bin, count, weight);
            count -= available;
            weight += _sums[bin];
        }
        return prefix;
    }

    /// <summary>The shortest prefix whose weight exceeds <paramref name="weight"/>, or <paramref name="prefix"/> when none does.</summary>
    public TokenPrefix TakeWeight(in TokenPrefix prefix, double weight)
    {
        double sum = 0;
        for (int bin = 0; bin <= prefix.Bin; bin++)
        {
            if (bin < prefix.Bin && sum + _sums[bin] <= weight)
            {
                sum += _sums[bin];
                continue;
            }
            Sort(bin);
            int available = bin == prefix.Bin ? prefix.CountInBin : _counts[bin];
            for (int i = 0; i < available; i++)
            {
                sum += _weights[TokenAt(i)];
                if (sum > weight)
                    return new TokenPrefix(bin, i + 1, sum);
            }
        }
        return prefix;
    }

    /// <summary>The tokens of <paramref name="prefix"/> at most <paramref name="octaves"/> (not negative) below the first one.</summary>
    public TokenPrefix TakeOctaves(in TokenPrefix prefix, float octaves)
    {
        int bin = BinOf(octaves);
        if (bin > prefix.Bin)
            return prefix;
        Sort(bin);
        int available = bin == prefix.Bin ? prefix.CountInBin : _counts[bin];
        int count = 0;
        while (count < available && Octaves(TokenAt(count)) <= octaves)
            count++;
        double weight = 0;
        int last = 0;
        for (int i = 0; i < bin; i++)
        {
            weight += _sums[i];
            if (_counts[i] > 0)
                last = i;
        }
        return count > 0 ? TakeInBin(bin, count, weight) : new TokenPrefix(last, _counts[last], weight);
    }

    /// <summary>The last token of <paramref name="prefix"/>.</summary>
    public int LastOf(in TokenPrefix prefix)
    {
        Sort(prefix.Bin);
        return TokenAt(prefix.CountInBin - 1);
    }

    // NaN does not occur; an infinite z is beyond the last octave.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int BinOf(float z) => (int)Math.Min(z * BinsPerOctave, BinCount - 1);

    // The same two roundings as the vectors that filled the bins.
    private readonly float Octaves(int token) => (_max - _logits[token]) * _scale;

    private TokenPrefix TakeInBin(int bin, int count, double weightBefore)
    {
        if (count == _counts[bin])
            return new TokenPrefix(bin, count, weightBefore + _sums[bin]);
        Sort(bin);
        for (int i = 0; i < count; i++)
            weightBefore += _weights[TokenAt(i)];
        return new TokenPrefix(bin, count, weightBefore);
    }

    private readonly int TokenAt(int index) => (int)(uint)_sorted[index];

    // Sorts the tokens of a bin by logit, largest first, then by index: both in one integer key.
    private void Sort(int bin)
    {
        if (bin == _sortedBin)
            return;
        _sortedBin = bin;
        int count = _counts[bin], token = -1;
        for (int i = 0; i < count; i++)
        {
            token += 1 + new ReadOnlySpan<ushort>(_bins + token + 1, _size - token - 1).IndexOf((ushort)bin);
            _sorted[i] = (ulong)~Rank(_logits[token]) << 32 | (uint)token;
        }
        new Span<ulong>(_sorted, count).Sort();
    }

    // An unsigned integer that orders as the logits do, 0 and −0 being equal.
    private static uint Rank(float logit)
    {
        uint bits = BitConverter.SingleToUInt32Bits(logit + 0f); // −0 + 0 = 0
        return (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
    }
}
