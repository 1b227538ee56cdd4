using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>tanh of each lane, with a relative error of at most 2.5e-7 (two units in the last place) for any float32.</summary>
public static class HyperbolicTangent
{
    // Below this 1 − e would lose bits. There tanh x = x + x³ · P(x²), with the minimax P of degree 4 for the relative error
    // of the whole: 4.4e-9 with the coefficients rounded to float32.
    private const float PolynomialEnd = 0.55f;
    private const float P0 = -0.333333164f;
    private const float P1 = 0.13332586f;
    private const float P2 = -0.0538523085f;
    private const float P3 = 0.0210716799f;
    private const float P4 = -0.00627424102f;

    private const float TwoLog2E = 2.88539008f;

    /// <summary>tanh x; ±1 for ±∞, NaN for NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Of<TSimd, TVector>(TVector x)
        where TSimd : struct, ISimd<TVector>
        where TVector : unmanaged
    {
        TVector magnitude = TSimd.Abs(x), square = TSimd.Multiply(x, x);
        TVector p = TSimd.MultiplyAdd(TSimd.Broadcast(P4), square, TSimd.Broadcast(P3));
        p = TSimd.MultiplyAdd(p, square, TSimd.Broadcast(P2));
        p = TSimd.MultiplyAdd(p, square, TSimd.Broadcast(P1));
        p = TSimd.MultiplyAdd(p, square, TSimd.Broadcast(P0));
        TVector near = TSimd.MultiplyAdd(TSimd.Multiply(p, square), x, x);
        // tanh |x| = (1 − e) / (1 + e) with e = exp(−2 |x|).
        TVector e = TSimd.Exp2(TSimd.Multiply(magnitude, TSimd.Broadcast(-TwoLog2E))), one = TSimd.Broadcast(1f);
        TVector far = TSimd.Divide(TSimd.Subtract(one, e), TSimd.Add(one, e));
        return TSimd.SelectLess(magnitude, TSimd.Broadcast(PolynomialEnd), near, TSimd.CopySign(far, x));
    }
}
