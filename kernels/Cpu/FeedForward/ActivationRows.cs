using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// Activations and their slopes of rows of units. Rows are as long as whole vectors; what comes after their elements is computed too.
/// </summary>
internal static unsafe class ActivationRows<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float Log2E = 1.44269504f;
    private const float SqrtHalf = 0.707106781f;
    private const float InverseSqrtTau = 0.398942280f;

    /// <summary>u ← h, of u and (with SwiGLU) v.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static void Activate(FeedForwardActivation activation, float* u, float* v, int count)
    {
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector x = TSimd.Load(u + i);
            if (activation == FeedForwardActivation.Relu)
                x = TSimd.SelectLess(x, TSimd.Zero, TSimd.Zero, x);
            else if (activation == FeedForwardActivation.Gelu)
                x = TSimd.Multiply(x, NormalCdf(x));
            else
                x = TSimd.Multiply(x, TSimd.Multiply(TSimd.Load(v + i), Sigmoid(TSimd.Load(v + i))));
            TSimd.Store(x, u + i);
        }
    }

    /// <summary>
    /// With e, the gradient of h before the coefficient: u ← coefficient · h, <paramref name="du"/> = coefficient · e · ∂h/∂u,
    /// <paramref name="dv"/> = coefficient · e · ∂h/∂v. Returns Σ e · h of the first <paramref name="count"/> units.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static float Differentiate(
        FeedForwardActivation activation, float* u, float* v, float* e, float coefficient, int count, float* du, float* dv)
    {
        TVector factor = TSimd.Broadcast(coefficient), one = TSimd.Broadcast(1f), sum = TSimd.Zero;
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector x = TSimd.Load(u + i), gradient = TSimd.Load(e + i), h, slope;
            if (activation == FeedForwardActivation.Relu)
            {
                slope = TSimd.SelectLess(TSimd.Zero, x, one, TSimd.Zero);
                h = TSimd.SelectLess(x, TSimd.Zero, TSimd.Zero, x);
            }
            else if (activation == FeedForwardActivation.Gelu)
            {
                TVector cdf = NormalCdf(x);
                TVector density = TSimd.Multiply(
                    TSimd.Broadcast(InverseSqrtTau), TSimd.Exp2(TSimd.Multiply(TSimd.Multiply(x, x), TSimd.Broadcast(-0.5f * Log2E))));
                h = TSimd.Multiply(x, cdf);
                slope = TSimd.MultiplyAdd(x, density, cdf);
            }
            else
            {
                TVector y = TSimd.Load(v + i), sigmoid = Sigmoid(y);
                slope = TSimd.Multiply(y, sigmoid);
                h = TSimd.Multiply(slope, x);
                TVector gateSlope = TSimd.Multiply(sigmoid, TSimd.MultiplyAdd(y, TSimd.Subtract(one, sigmoid), one));
                TSimd.Store(TSimd.Multiply(TSimd.Multiply(factor, gradient), TSimd.Multiply(x, gateSlope)), dv + i);
            }
            TSimd.Store(TSimd.Multiply(factor, h), u + i);
            TSimd.Store(TSimd.Multiply(TSimd.Multiply(factor, gradient), slope), du + i);
            // The last vector goes past the row where panels are padded: those e and h are 0.
            sum = TSimd.MultiplyAdd(gradient, h, sum);
        }
        return TSimd.Sum(sum);
    }

    /// <summary>1 / (1 + exp(−x)).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Sigmoid(TVector x)
    {
        // With e = exp(−|x|), which never overflows: 1 / (1 + e), or e / (1 + e) where x is negative.
        TVector one = TSimd.Broadcast(1f), e = TSimd.Exp2(TSimd.Multiply(TSimd.Abs(x), TSimd.Broadcast(-Log2E)));
        return TSimd.Divide(TSimd.SelectLess(x, TSimd.Zero, e, one), TSimd.Add(one, e));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector NormalCdf(TVector x)
    {
        TVector half = TSimd.Broadcast(0.5f);
        return TSimd.MultiplyAdd(half, ErrorFunction.Of<TSimd, TVector>(TSimd.Multiply(x, TSimd.Broadcast(SqrtHalf))), half);
    }
}
