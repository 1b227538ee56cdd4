using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>The soft cap x → cap · tanh(x / cap) of scores in base 2 (times log2 e), and its slope. Whole vectors are read and written.</summary>
internal static unsafe class SoftCap<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float Log2E = 1.44269504f;

    /// <summary>Caps <paramref name="count"/> scores.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static void Apply(float* scores, int count, float cap)
    {
        TVector inward = TSimd.Broadcast(1f / (Log2E * cap)), outward = TSimd.Broadcast(Log2E * cap);
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector x = TSimd.Multiply(TSimd.Load(scores + i), inward);
            TSimd.Store(TSimd.Multiply(HyperbolicTangent.Of<TSimd, TVector>(x), outward), scores + i);
        }
    }

    /// <summary>The slopes 1 − tanh²(x / cap) at <paramref name="count"/> scores x that are not capped yet.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static void GetSlopes(float* scores, int count, float cap, float* slopes)
    {
        TVector inward = TSimd.Broadcast(1f / (Log2E * cap)), one = TSimd.Broadcast(1f);
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector t = HyperbolicTangent.Of<TSimd, TVector>(TSimd.Multiply(TSimd.Load(scores + i), inward));
            TSimd.Store(TSimd.Multiply(TSimd.Subtract(one, t), TSimd.Add(one, t)), slopes + i);
        }
    }
}
