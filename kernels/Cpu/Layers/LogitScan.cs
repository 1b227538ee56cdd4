using System.Numerics;
using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>The largest of a row of logits and where it stands.</summary>
internal static unsafe class LogitScan<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>The largest logit: NaN when one is NaN, −∞ when there is none.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static float Max(float* logits, long size)
    {
        int v = TSimd.Width;
        TVector max0 = TSimd.Broadcast(float.NegativeInfinity), max1 = max0;
        uint all = TSimd.EqualMask(max0, max0), numbers = all;
        long i = 0;
        for (; i <= size - 2 * v; i += 2 * v)
        {
            TVector x0 = TSimd.Load(logits + i), x1 = TSimd.Load(logits + i + v);
            max0 = TSimd.Max(max0, x0);
            max1 = TSimd.Max(max1, x1);
            numbers &= TSimd.EqualMask(x0, x0) & TSimd.EqualMask(x1, x1); // Max may lose a NaN
        }
        float max = TSimd.MaxAcross(TSimd.Max(max0, max1));
        bool hasNaN = numbers != all;
        for (; i < size; i++)
        {
            hasNaN |= float.IsNaN(logits[i]);
            max = Math.Max(max, logits[i]);
        }
        return hasNaN ? float.NaN : max;
    }

    /// <summary>The index of the first logit equal to <paramref name="value"/>, or −1.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static int IndexOf(float* logits, long size, float value)
    {
        TVector values = TSimd.Broadcast(value);
        long i = 0;
        for (; i <= size - TSimd.Width; i += TSimd.Width)
        {
            uint mask = TSimd.EqualMask(TSimd.Load(logits + i), values);
            if (mask != 0)
                return (int)i + BitOperations.TrailingZeroCount(mask);
        }
        for (; i < size; i++)
        {
            if (logits[i] == value)
                return (int)i;
        }
        return -1;
    }

    /// <summary>The index of the first largest logit, or −1 when one is NaN or none is above −∞.</summary>
    public static int ArgMax(float* logits, long size)
    {
        float max = Max(logits, size);
        return max > float.NegativeInfinity ? IndexOf(logits, size, max) : -1;
    }
}
