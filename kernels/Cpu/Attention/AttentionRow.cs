using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// The online softmax of one query row (Milakov and Gimelshein 2018, arXiv:1805.02867) in base 2. Its state is the largest
/// score m (or one up to 8 below it), the total l = Σ 2^(s − m) and the sums Σ 2^(s − m) · v. A row that saw no key has m = −∞,
/// l = 0 and sums of 0.
/// </summary>
internal static unsafe class AttentionRow<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float Log2E = 1.44269504f;
    private const double Ln2 = 0.69314718055994531;

    /// <summary>How far scores may lie above m, in base 2.</summary>
    public const float Slack = 8f;

    /// <summary>Loads a query row times scale · log2 e, so that scores come out in base 2.</summary>
    public static void LoadQuery(byte* row, DataType type, in AttentionProblem problem, float* target)
    {
        Rows<TSimd, TVector>.Widen(row, type, problem.HeadDim, target);
        float factor = problem.Scale * Log2E;
        int c = problem.HeadDim / TSimd.Width * TSimd.Width;
        Scale(target, c, factor);
        for (; c < problem.HeadDim; c++)
            target[c] *= factor;
    }

    /// <summary>
    /// Takes up the scores of one block of keys: replaces them by 2^(s − m) for the new m, and rescales what was summed under
    /// the old one.
    /// </summary>
    /// <param name="scores">The row's scores, at least one.</param>
    /// <param name="count">How many.</param>
    /// <param name="maximum">m.</param>
    /// <param name="total">l.</param>
    /// <param name="sums">The sums so far, <paramref name="width"/> floats.</param>
    /// <param name="width">A multiple of the vector width.</param>
    public static void Update(float* scores, int count, ref float maximum, ref float total, float* sums, int width)
    {
        Raise(scores, count, ref maximum, ref total, sums, width);
        total += Softmax<TSimd, TVector>.Exp2InPlace(scores, count, Shift(maximum));
    }

    /// <summary>
    /// Replaces scores by weights 2^(s − shift), of hidden ones 0 whatever the shift, and adds them to sums. Whole vectors of scores are
    /// read and written.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static void ToWeights(float* scores, int count, float shift, float* sums)
    {
        TVector s = TSimd.Broadcast(shift), lowest = TSimd.Broadcast(float.MinValue);
        for (int i = 0; i < count; i += TSimd.Width)
        {
            // An lse that belongs to the scores is above them but for rounding; far above it the power overflows.
            TVector score = TSimd.Load(scores + i);
            // Hidden stays 0 also where the lse is NaN.
            TVector p = TSimd.SelectLess(score, lowest, TSimd.Zero, TSimd.Exp2(TSimd.Subtract(score, s)));
            TSimd.Store(p, scores + i);
            if (i + TSimd.Width <= count)
                TSimd.Store(TSimd.Add(TSimd.Load(sums + i), p), sums + i);
        }
        for (int j = count / TSimd.Width * TSimd.Width; j < count; j++)
            sums[j] += scores[j];
    }

    /// <summary>
    /// The first half of <see cref="Update"/>: raises m to the largest score where that is more than 2^8 times as much, and
    /// rescales. Below that, weights of up to 2^8 lose nothing, and hardly any block after a row's first needs rescaling.
    /// </summary>
    public static void Raise(float* scores, int count, ref float maximum, ref float total, float* sums, int width)
    {
        float newMaximum = Softmax<TSimd, TVector>.Max(scores, count);
        if (newMaximum <= maximum + Slack) // not so when it is NaN
            return;
        if (maximum != float.NegativeInfinity) // else all is 0 still
        {
            float factor = MathF.Pow(2f, maximum - newMaximum);
            total *= factor;
            Scale(sums, width, factor);
        }
        maximum = newMaximum;
    }

    /// <summary>What to subtract from scores under m: −∞ − (−∞) would be NaN.</summary>
    public static float Shift(float maximum) => maximum == float.NegativeInfinity ? 0f : maximum;

    /// <summary>The weights of a finished row: p = 2^(s − lse), everything in base 2. Whole vectors are read and written.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static void ToWeights(float* scores, int count, float lse)
    {
        TVector shift = TSimd.Broadcast(lse);
        for (int i = 0; i < count; i += TSimd.Width)
            TSimd.Store(TSimd.Exp2(TSimd.Subtract(TSimd.Load(scores + i), shift)), scores + i);
    }

    /// <summary>sums *= factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Scale(float* sums, int width, float factor)
    {
        TVector f = TSimd.Broadcast(factor);
        for (int c = 0; c < width; c += TSimd.Width)
            TSimd.Store(TSimd.Multiply(TSimd.Load(sums + c), f), sums + c);
    }

    /// <summary>Takes up a logit without a value (natural, not base 2; −∞ for none): it adds 2^(sink · log2 e − m) to l alone.</summary>
    public static void AddSink(float sink, ref float maximum, ref float total, float* sums, int width)
    {
        float score = sink * Log2E;
        if (score == float.NegativeInfinity)
            return;
        float newMaximum = Math.Max(maximum, score), factor = MathF.Pow(2f, maximum - newMaximum);
        if (newMaximum != maximum)
            Scale(sums, width, factor);
        total = total * factor + MathF.Pow(2f, score - newMaximum);
        maximum = newMaximum;
    }

    /// <summary>
    /// Writes a finished row of a sequence: takes up the head's sink, then output = gain · sums / l + offset (0 in place of
    /// sums / l for a row that saw no key) and, if asked for, lse = (m + log2 l) · ln 2, a natural log.
    /// </summary>
    public static void Write(
        in AttentionCall call, in AttentionSequence sequence, int head, int row, float maximum, float total, float* sums, int width)
    {
        AddSink(call.SinkLogit(head), ref maximum, ref total, sums, width);
        float gain = call.Gain(head);
        Scale(sums, width, total == 0f ? 0f : 1f / total);
        if (gain == 0f)
            new Span<float>(sums, width).Clear(); // a head that is switched off does not pass on a NaN
        else if (gain != 1f)
            Scale(sums, width, gain);
        float* offset = call.Offset(head);
        for (int c = 0; offset != null && c < call.Problem.ValueHeadDim; c++)
            sums[c] += offset[c];
        Rows<TSimd, TVector>.Narrow(sums, call.Problem.ValueHeadDim, call.OutputRow(sequence, head, row), call.Output.Type);
        if (call.Lse.IsPresent)
        {
            *(float*)call.Lse.Address(sequence.Batch, head, (long)sequence.QueryStart + row) =
                total == 0f ? float.NegativeInfinity : (float)((maximum + Math.Log2(total)) * Ln2);
        }
    }
}
