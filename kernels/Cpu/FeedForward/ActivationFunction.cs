using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>Activations and their slopes, one number at a time.</summary>
internal static class ActivationFunction<T> where T : struct, IFloatingPointIeee754<T>
{
    private static readonly T s_half = T.CreateChecked(0.5);

    /// <summary>h, of u and (with SwiGLU) of the gate v.</summary>
    public static T Value(FeedForwardActivation activation, T u, T v) => activation switch
    {
        FeedForwardActivation.Relu => u > T.Zero || T.IsNaN(u) ? u : T.Zero,
        FeedForwardActivation.Gelu => u * NormalCdf(u),
        _ => v * Sigmoid(v) * u,
    };

    /// <summary>∂h/∂u and ∂h/∂v.</summary>
    public static (T U, T V) Slopes(FeedForwardActivation activation, T u, T v)
    {
        switch (activation)
        {
            case FeedForwardActivation.Relu:
                return (u > T.Zero ? T.One : T.Zero, T.Zero);
            case FeedForwardActivation.Gelu:
                return (NormalCdf(u) + u * T.Exp(-s_half * u * u) / T.Sqrt(T.Tau), T.Zero);
            default:
                T sigmoid = Sigmoid(v);
                return (v * sigmoid, u * sigmoid * (T.One + v * (T.One - sigmoid)));
        }
    }

    /// <summary>1 / (1 + exp(−x)).</summary>
    public static T Sigmoid(T x) => T.One / (T.One + T.Exp(-x));

    private static T NormalCdf(T x) => s_half * (T.One + ErrorFunction.Of(x * T.Sqrt(s_half)));
}
