using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// The end of a row's online softmax. Its state is the maximum score m (base 2), the total l = Σ 2^(s − m) and the sums
/// Σ 2^(s − m) · v. A row that saw no key has m = −∞ and l = 0.
/// </summary>
internal static unsafe class AttentionRow<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>sums / total; 0 for a row that saw no key.</summary>
    /// <param name="sums">The row, <paramref name="width"/> floats.</param>
    /// <param name="width">A multiple of the vector width.</param>
    /// <param name="total">l.</param>
    public static void Normalize(float* sums, int width, float total)
    {
        TVector factor = TSimd.Broadcast(total == 0f ? 0f : 1f / total);
        for (int c = 0; c < width; c += TSimd.Width)
            TSimd.Store(TSimd.Multiply(TSimd.Load(sums + c), factor), sums + c);
    }

    /// <summary>The natural log of Σ exp(score); −∞ for a row that saw no key.</summary>
    public static float Lse(float maximum, float total) =>
        total == 0f ? float.NegativeInfinity : (float)((maximum + Math.Log2(total)) * 0.69314718055994531);
}
