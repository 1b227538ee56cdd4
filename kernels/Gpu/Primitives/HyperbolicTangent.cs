using System.Runtime.CompilerServices;
using ILGPU.Algorithms;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>
/// tanh to a few units in the last place, where a device's own may have 11 bits. Near 0 the exponential's form would lose all of
/// them: there a series has them.
/// </summary>
internal static class HyperbolicTangent
{
    private const float Log2E = 1.44269504f;

    /// <summary>tanh x; NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Of(float x)
    {
        float magnitude = x < 0f ? -x : x, square = x * x;
        float series = x * (1f + square * (-0.333333333f + square * (0.133333333f + square * (-0.0539682540f + square * 0.0218694885f))));
        float t = XMath.Exp2(-2f * Log2E * magnitude);
        float far = (1f - t) / (1f + t);
        return magnitude < 0.25f ? series : x < 0f ? -far : far;
    }
}
