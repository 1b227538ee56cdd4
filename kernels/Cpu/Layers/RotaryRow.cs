using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// Turns the pairs of one float32 row by one position's angles. Products are rounded before they are added, as the plain
/// computation does, so that narrow storage rounds to the same numbers.
/// </summary>
internal static unsafe class RotaryRow<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>Spreads a position's angles over interleaved pairs: <c>(cos, cos)</c> and <c>(−sin, sin)</c>.</summary>
    public static void Spread(float* cos, float* sin, float* spreadCos, float* spreadSin, int pairs)
    {
        for (int i = 0; i < pairs; i++)
        {
            spreadCos[2 * i] = spreadCos[2 * i + 1] = cos[i];
            spreadSin[2 * i] = -sin[i];
            spreadSin[2 * i + 1] = sin[i];
        }
    }

    /// <summary>Pairs (i, i + pairs): <c>x·cos − y·sin</c> and <c>y·cos + x·sin</c>.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static void TurnHalfSplit(float* values, float* cos, float* sin, int pairs)
    {
        int i = 0;
        for (; i <= pairs - TSimd.Width; i += TSimd.Width)
        {
            TVector x = TSimd.Load(values + i), y = TSimd.Load(values + pairs + i), c = TSimd.Load(cos + i), s = TSimd.Load(sin + i);
            TSimd.Store(TSimd.Subtract(TSimd.Multiply(x, c), TSimd.Multiply(y, s)), values + i);
            TSimd.Store(TSimd.Add(TSimd.Multiply(y, c), TSimd.Multiply(x, s)), values + pairs + i);
        }
        for (; i < pairs; i++)
        {
            (float x, float y) = (values[i], values[pairs + i]);
            values[i] = x * cos[i] - y * sin[i];
            values[pairs + i] = y * cos[i] + x * sin[i];
        }
    }

    /// <summary>Pairs (2i, 2i + 1): a vector v of pairs becomes <c>v·c + swap(v)·s</c> with the angles that <see cref="Spread"/> made.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static void TurnInterleaved(float* values, float* spreadCos, float* spreadSin, int size)
    {
        int i = 0;
        for (; i <= size - TSimd.Width; i += TSimd.Width)
        {
            TVector v = TSimd.Load(values + i);
            TVector turned = TSimd.Multiply(TSimd.SwapPairs(v), TSimd.Load(spreadSin + i));
            TSimd.Store(TSimd.Add(TSimd.Multiply(v, TSimd.Load(spreadCos + i)), turned), values + i);
        }
        for (; i < size; i += 2)
        {
            (float x, float y) = (values[i], values[i + 1]);
            values[i] = x * spreadCos[i] + y * spreadSin[i];
            values[i + 1] = y * spreadCos[i] + x * spreadSin[i + 1];
        }
    }
}
