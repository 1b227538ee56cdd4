using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// The k-th largest of unsigned integers without sorting them: a histogram of the highest bits says in which bin it lies, and only
/// that bin's numbers are looked at again.
/// </summary>
internal static unsafe class RadixSelect
{
    private const int DigitBits = 11, Bins = 1 << DigitBits;

    /// <summary>The key of +∞, the largest of all keys.</summary>
    public const uint InfinityKey = 0xFF800000u;

    /// <summary>An unsigned integer in the order of the scores: NaN is −∞, and −0 equals 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint KeyOf(float score)
    {
        uint bits = BitConverter.SingleToUInt32Bits(score + 0f); // −0 + 0 is 0
        uint key = bits ^ ((uint)((int)bits >> 31) | 0x80000000u);
        return float.IsNaN(score) ? ~0xFF800000u : key;
    }

    /// <summary>Finds the <paramref name="rank"/>-th largest value, counted from 1 to <paramref name="count"/>.</summary>
    /// <param name="values">The values.</param>
    /// <param name="count">How many.</param>
    /// <param name="rank">Which one.</param>
    /// <param name="scratch">Room for as many, overwritten; may be the values themselves.</param>
    /// <param name="equals">How many values are equal to it.</param>
    /// <param name="rankAmongEquals">How many of these belong to the first <paramref name="rank"/>.</param>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static uint Find(uint* values, long count, long rank, uint* scratch, out long equals, out long rankAmongEquals)
    {
        long* bins = stackalloc long[Bins];
        uint found = 0;
        for (int shift = 32 - DigitBits; ; shift = Math.Max(0, shift - DigitBits))
        {
            new Span<long>(bins, Bins).Clear();
            for (long i = 0; i < count; i++)
                bins[(values[i] >> shift) & (Bins - 1)]++;
            uint digit = Bins - 1;
            while (rank > bins[digit])
                rank -= bins[digit--];
            found |= digit << shift;
            if (shift == 0)
            {
                equals = bins[digit];
                rankAmongEquals = rank;
                return found;
            }
            uint prefix = found >> shift;
            long kept = 0;
            for (long i = 0; i < count; i++)
            {
                uint value = values[i];
                scratch[kept] = value;
                kept += value >> shift == prefix ? 1 : 0;
            }
            values = scratch;
            count = kept;
        }
    }
}
