using System.Numerics;
using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>erf x = 2 / √π · ∫ exp(−t²) dt from 0 to x.</summary>
public static class ErrorFunction
{
    /// <summary>By its series of positive terms, to a few units in the last place: what the scalar references use.</summary>
    public static T Of<T>(T x) where T : struct, IFloatingPointIeee754<T>
    {
        T square = x * x, term = x, sum = x;
        if (T.IsNaN(x) || T.Abs(x) > T.CreateChecked(6))
            return T.IsNaN(x) ? x : T.CreateChecked(T.Sign(x));
        // erf x = 2 / √π · exp(−x²) · (x + 2 x³ / 3 + 4 x⁵ / 15 + ...)
        for (int n = 1; sum + term != sum; n++)
        {
            term *= (square + square) / T.CreateChecked(2 * n + 1);
            sum += term;
        }
        return T.CreateChecked(2) / T.Sqrt(T.Pi) * T.Exp(-square) * sum;
    }
}
