using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>erf by a rational minimax approximation on [−4, 4], beyond which it is ±1 in float32; absolute error below 2e-7.</summary>
internal static class ErrorFunction
{
    /// <summary>erf x; NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Of(float x)
    {
        float s = x * x;
        float p = -2.10102402082508e-06f + s * (2.77068142495902e-08f + s * -2.72614225801306e-10f);
        p = -7.34990630326855e-04f + s * (-5.69250639462346e-05f + s * p);
        p = -1.60960333262415e-02f + s * (-2.95459980854025e-03f + s * p);
        float q = -1.68282697438203e-03f + s * (-2.13374055278905e-04f + s * -1.45660718464996e-05f);
        q = -1.42647390514189e-02f + s * (-7.37332916720468e-03f + s * q);
        return x > 4f ? 1f : x < -4f ? -1f : x * p / q;
    }
}
