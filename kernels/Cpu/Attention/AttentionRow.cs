using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// The online softmax of one query row (Milakov and Gimelshein 2018, arXiv:1805.02867) in base 2. Its state is the maximum
/// score m, the total l = Σ 2^(s − m) and the sums Σ 2^(s − m) · v. A row that saw no key has m = −∞, l = 0 and sums of 0.
/// </summary>
internal static unsafe class AttentionRow<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float Log2E = 1.44269504f;
    private const double Ln2 = 0.69314718055994531;

    /// <summary>Loads a query row times scale · log2 e, so that scores come out in base 2.</summary>
    public static void LoadQuery(in RawView query, int batch, int row, int head, in AttentionProblem problem, float* target)
    {
        Rows<TSimd, TVector>.Widen(query.Address(batch, row, head), query.Type, problem.HeadDim, target);
        float factor = problem.Scale * Log2E;
        for (int c = 0; c < problem.HeadDim; c++)
            target[c] *= factor;
    }

    /// <summary>
    /// Takes up the scores of one block of keys: replaces them by 2^(s − m) for the new maximum m, and rescales what was
    /// summed under the old one.
    /// </summary>
    /// <param name="scores">The row's scores, at least one.</param>
    /// <param name="count">How many.</param>
    /// <param name="maximum">m.</param>
    /// <param name="total">l.</param>
    /// <param name="sums">The sums so far, <paramref name="width"/> floats.</param>
    /// <param name="width">A multiple of the vector width.</param>
    public static void Update(float* scores, int count, ref float maximum, ref float total, float* sums, int width)
    {
        float newMaximum = Math.Max(maximum, Softmax<TSimd, TVector>.Max(scores, count));
        float shift = newMaximum == float.NegativeInfinity ? 0f : newMaximum; // −∞ − (−∞) would be NaN
        float blockTotal = Softmax<TSimd, TVector>.Exp2InPlace(scores, count, shift);
        if (newMaximum != maximum)
        {
            float factor = MathF.Pow(2f, maximum - shift);
            total *= factor;
            Scale(sums, width, factor);
            maximum = newMaximum;
        }
        total += blockTotal;
    }

    /// <summary>sums *= factor.</summary>
    public static void Scale(float* sums, int width, float factor)
    {
        TVector f = TSimd.Broadcast(factor);
        for (int c = 0; c < width; c += TSimd.Width)
            TSimd.Store(TSimd.Multiply(TSimd.Load(sums + c), f), sums + c);
    }

    /// <summary>Writes output = sums / l (0 for a row that saw no key) and, if asked for, lse = (m + log2 l) · ln 2, a natural log.</summary>
    public static void Write(
        in RawView output, in RawView lse, int batch, int head, int row, float maximum, float total, float* sums, int width)
    {
        Scale(sums, width, total == 0f ? 0f : 1f / total);
        Rows<TSimd, TVector>.Narrow(sums, output.Layout[3], output.Address(batch, row, head), output.Type);
        if (lse.IsPresent)
            *(float*)lse.Address(batch, head, row) = total == 0f ? float.NegativeInfinity : (float)((maximum + Math.Log2(total)) * Ln2);
    }
}
