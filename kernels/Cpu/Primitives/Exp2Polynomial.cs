namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>Coefficients of 2^f ≈ 1 + f·(C1 + f·(C2 + ...)) on [-1/2, 1/2]; the Taylor series of 2^f, whose degree-6 remainder is 1.2e-7·2^-4.</summary>
internal static class Exp2Polynomial
{
    public const float C1 = 0.693147181f;
    public const float C2 = 0.240226507f;
    public const float C3 = 0.0555041087f;
    public const float C4 = 0.00961812911f;
    public const float C5 = 0.00133335581f;
    public const float C6 = 0.000154035304f;
}
