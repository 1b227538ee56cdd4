using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// Quantises whole pages of a cache (Liu et al. 2024, KIVI, arXiv:2402.02750): keys by channels of a page, values by 32 channels of a row.
/// A thread has one byte of all the rows of a page of keys, or one group of a value; each reads what it has twice. Scales are corrected
/// by exact products, so that codes do not depend on how a device divides.
/// </summary>
internal static class QuantizePages
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    private const float Limit = 65504f;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public TokenTensor<T> Key, Value;                  // [poolPages, pageSize, 1, dim]
        public ArrayView<int> SourcePages, TargetPages;    // [pages]
        public PageCodes Codes;
        public long Items;
        public int PageSize, HeadDim, ValueHeadDim;
    }

    /// <summary>The kernel for keys; a thread for each byte of a row of each page.</summary>
    public static void QuantizeKeys<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        long item = (long)Grid.IdxX * Threads + Group.IdxX;
        if (item < p.Items)
        {
            int bytes = p.HeadDim * p.Codes.Bits / 8, page = (int)(item / bytes), at = (int)(item % bytes), perByte = 8 / p.Codes.Bits;
            int source = p.SourcePages[page];
            long target = p.TargetPages[page];
            for (int i = 0; i < perByte; i++)
            {
                int c = at * perByte + i;
                float least = Limit, most = -Limit;
                for (int t = 0; t < p.PageSize; t++)
                {
                    float x = Clamp(TStorage.Load(p.Key.Data[p.Key.Offset(source, t, 0) + c]));
                    least = x < least ? x : least;
                    most = x > most ? x : most;
                }
                int minimum = FindMinimum(least), scale = FindScale(most, minimum, (1 << p.Codes.Bits) - 1);
                p.Codes.KeyMinimum[target * p.Codes.KeyMinimumStride + c] = (ushort)minimum;
                p.Codes.KeyScale[target * p.Codes.KeyScaleStride + c] = (ushort)scale;
                float s = Float16Storage.Load((ushort)scale), m = Float16Storage.Load((ushort)minimum);
                for (int t = 0; t < p.PageSize; t++)
                {
                    long to = target * p.Codes.KeyPageStride + t * p.Codes.KeyRowStride + at;
                    int code = Encode(Clamp(TStorage.Load(p.Key.Data[p.Key.Offset(source, t, 0) + c])) - m, s) << (i * p.Codes.Bits);
                    p.Codes.Key[to] = (sbyte)(i == 0 ? code : (p.Codes.Key[to] & 255) | code);
                }
            }
        }
    }

    /// <summary>The kernel for values; a thread for each group of each row of each page.</summary>
    public static void QuantizeValues<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        long item = (long)Grid.IdxX * Threads + Group.IdxX;
        if (item < p.Items)
        {
            int groups = (p.ValueHeadDim + PageCodes.GroupSize - 1) / PageCodes.GroupSize, perByte = 8 / p.Codes.Bits;
            int page = (int)(item / groups / p.PageSize), t = (int)(item / groups % p.PageSize), group = (int)(item % groups);
            int first = group * PageCodes.GroupSize, end = first + PageCodes.GroupSize;
            end = end < p.ValueHeadDim ? end : p.ValueHeadDim;
            long source = p.Value.Offset(p.SourcePages[page], t, 0), target = p.TargetPages[page];
            float least = Limit, most = -Limit;
            for (int c = first; c < end; c++)
            {
                float x = Clamp(TStorage.Load(p.Value.Data[source + c]));
                least = x < least ? x : least;
                most = x > most ? x : most;
            }
            int minimum = FindMinimum(least), scale = FindScale(most, minimum, (1 << p.Codes.Bits) - 1);
            p.Codes.ValueMinimum[target * p.Codes.ValueMinimumPageStride + t * p.Codes.ValueMinimumRowStride + group] = (ushort)minimum;
            p.Codes.ValueScale[target * p.Codes.ValueScalePageStride + t * p.Codes.ValueScaleRowStride + group] = (ushort)scale;
            float s = Float16Storage.Load((ushort)scale), m = Float16Storage.Load((ushort)minimum);
            long to = target * p.Codes.ValuePageStride + t * p.Codes.ValueRowStride;
            for (int c = first; c < end; c += perByte)
            {
                int code = 0;
                for (int i = 0; i < perByte; i++)
                    code |= Encode(Clamp(TStorage.Load(p.Value.Data[source + c + i])) - m, s) << (i * p.Codes.Bits);
                p.Codes.Value[to + c / perByte] = (sbyte)code;
            }
        }
    }

    // A NaN counts as 0.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Clamp(float x)
    {
        float clamped = x > Limit ? Limit : x < -Limit ? -Limit : x;
        return (Interop.FloatAsInt(x) & 0x7FFFFFFFu) > 0x7F800000u ? 0f : clamped;
    }

    // The largest binary16 number that is not above.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int FindMinimum(float least)
    {
        int bits = Float16Storage.Store(least);
        int below = (bits & 0x7FFF) == 0 ? 0x8001 : bits < 0x8000 ? bits - 1 : bits + 1;
        return Float16Storage.Load((ushort)bits) > least ? below : bits;
    }

    // The least binary16 number s with maxCode · s ≥ most − minimum.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int FindScale(float most, int minimum, int maxCode)
    {
        float range = most - Float16Storage.Load((ushort)minimum);
        int bits = Float16Storage.Store(range / maxCode) & 0x7FFF;
        int above = bits + 1, below = bits > 0 ? bits - 1 : 0;
        int notAbove = Float16Storage.Load((ushort)below) * maxCode >= range ? below : bits;
        return Float16Storage.Load((ushort)bits) * maxCode < range ? above : notAbove;
    }

    // ⌊x / scale + 1/2⌋; the quotient may be off by its rounding, (code ± 1/2) · scale is exact and decides.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Encode(float x, float scale)
    {
        float s = scale > 0f ? scale : 1f;
        int code = (int)(x / s + 0.5f);
        code = x < (code - 0.5f) * s ? code - 1 : code;
        return x >= (code + 0.5f) * s ? code + 1 : code;
    }
}
