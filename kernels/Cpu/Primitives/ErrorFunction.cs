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

    // A rational minimax approximation x · P(x²) / Q(x²) on [−4, 4], beyond which erf is ±1 in float32 but for half a unit in the last
    // place. Absolute error below 2e-7.
    private const float End = 4f;
    private const float P0 = -1.60960333262415e-02f, P1 = -2.95459980854025e-03f, P2 = -7.34990630326855e-04f, P3 = -5.69250639462346e-05f;
    private const float P4 = -2.10102402082508e-06f, P5 = 2.77068142495902e-08f, P6 = -2.72614225801306e-10f;
    private const float Q0 = -1.42647390514189e-02f, Q1 = -7.37332916720468e-03f, Q2 = -1.68282697438203e-03f, Q3 = -2.13374055278905e-04f;
    private const float Q4 = -1.45660718464996e-05f;

    /// <summary>erf of each lane; ±1 for ±∞, NaN for NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Of<TSimd, TVector>(TVector x)
        where TSimd : struct, ISimd<TVector>
        where TVector : unmanaged
    {
        TVector square = TSimd.Multiply(x, x);
        TVector p = TSimd.MultiplyAdd(TSimd.Broadcast(P6), square, TSimd.Broadcast(P5));
        p = TSimd.MultiplyAdd(p, square, TSimd.Broadcast(P4));
        p = TSimd.MultiplyAdd(p, square, TSimd.Broadcast(P3));
        p = TSimd.MultiplyAdd(p, square, TSimd.Broadcast(P2));
        p = TSimd.MultiplyAdd(p, square, TSimd.Broadcast(P1));
        p = TSimd.MultiplyAdd(p, square, TSimd.Broadcast(P0));
        TVector q = TSimd.MultiplyAdd(TSimd.Broadcast(Q4), square, TSimd.Broadcast(Q3));
        q = TSimd.MultiplyAdd(q, square, TSimd.Broadcast(Q2));
        q = TSimd.MultiplyAdd(q, square, TSimd.Broadcast(Q1));
        q = TSimd.MultiplyAdd(q, square, TSimd.Broadcast(Q0));
        TVector near = TSimd.Divide(TSimd.Multiply(x, p), q);
        return TSimd.SelectLess(TSimd.Broadcast(End), TSimd.Abs(x), TSimd.CopySign(TSimd.Broadcast(1f), x), near);
    }
}
