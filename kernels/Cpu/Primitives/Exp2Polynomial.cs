namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>
/// Coefficients of 2^f ≈ 1 + f·(C1 + f·(C2 + ...)) on [-1/2, 1/2]: the minimax polynomial of degree 6 with value 1 at 0. Its
/// relative error is 2.0e-9, and 1.6e-8 with the coefficients rounded to float32; the rest of a result's error is rounding.
/// </summary>
internal static class Exp2Polynomial
{
    public const float C1 = 0.693147182f;
    public const float C2 = 0.240226477f;
    public const float C3 = 0.0555033237f;
    public const float C4 = 0.00961843692f;
    public const float C5 = 0.0013398875f;
    public const float C6 = 0.000153533605f;
}
