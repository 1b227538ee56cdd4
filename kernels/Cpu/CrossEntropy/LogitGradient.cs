using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>Turns the logits of one position and some neighbouring classes into their gradients (<see cref="CrossEntropyRowGradient{T}"/>).</summary>
internal static unsafe class LogitGradient<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float Log2E = 1.44269504f;

    /// <summary>Replaces logits by gradients, and what is past the last by 0 up to a whole vector.</summary>
    /// <param name="problem">The forward problem.</param>
    /// <param name="row">The position's numbers.</param>
    /// <param name="logits">Capped logits.</param>
    /// <param name="count">How many.</param>
    /// <param name="label">Where the position's label is among them, or a number outside.</param>
    /// <param name="weights">The classes' weights, 0 past the last.</param>
    /// <param name="largest">Null, or of each class the largest |dx| so far, in units of the label's factor; before cap and temperature.</param>
    public static void Differentiate(
        in CrossEntropyProblem problem, in CrossEntropyRowGradient<float> row, float* logits, int count, int label, float* weights, float* largest = null)
    {
        bool hasLabel = (uint)label < (uint)count;
        float atLabel = hasLabel ? logits[label] : 0f;
        // A label without factor has no measure for what is small: nothing but 0 is left out.
        float measure = row.Label != 0f ? 1f / MathF.Abs(row.Label) : float.MaxValue;
        int padded = Rows<TSimd, TVector>.Padded(count);
        Differentiate(logits, padded, row, row.Smoothing != 0f ? weights : null, problem.LogitSoftCap, 1f / problem.Temperature, largest, measure);
        if (hasLabel)
        {
            float dx = AtLabel(row, atLabel, row.Smoothing != 0f ? weights[label] : 0f);
            if (largest != null)
                largest[label] = Math.Max(largest[label], MathF.Abs(dx) * measure);
            float ratio = problem.LogitSoftCap > 0 ? atLabel / problem.LogitSoftCap : 0f;
            logits[label] = dx * (1f - ratio) * (1f + ratio) / problem.Temperature;
        }
        new Span<float>(logits + count, padded - count).Clear();
    }

    // Label · (p − 1) loses less than Scale · p − Label does where p is near 1.
    private static float AtLabel(in CrossEntropyRowGradient<float> row, float logit, float weight)
    {
        float p = MathF.Exp(logit - row.Lse), rest = row.EntropyScale == 0f ? 0f : row.EntropyScale * logit;
        return row.Label * (p - 1f) + (p == 0f ? 0f : p * (row.Scale - row.Label - rest)) - row.Smoothing * weight;
    }

    // dx = (p · (scale − entropyScale · a) − smoothing · w) · (1 − (a / cap)²) / temperature, whole vectors; and the largest
    // |dx| · measure so far of each class, before cap and temperature.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Differentiate(
        float* logits, int count, in CrossEntropyRowGradient<float> row, float* weights, float softCap, float inverseTemperature, float* largest, float measure)
    {
        TVector lse = TSimd.Broadcast(row.Lse), log2E = TSimd.Broadcast(Log2E), scale = TSimd.Broadcast(row.Scale), one = TSimd.Broadcast(1f);
        TVector entropyScale = TSimd.Broadcast(-row.EntropyScale), smoothing = TSimd.Broadcast(-row.Smoothing), least = TSimd.Broadcast(-1e30f);
        TVector inward = TSimd.Broadcast(softCap > 0 ? 1f / softCap : 0f), factor = TSimd.Broadcast(inverseTemperature), m = TSimd.Broadcast(measure);
        // Where p is 0, a factor of −∞ would make a NaN of it.
        bool hasEntropy = row.EntropyScale != 0f;
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector a = TSimd.Load(logits + i), p = TSimd.Exp2(TSimd.Multiply(TSimd.Subtract(a, lse), log2E));
            TVector dx = TSimd.Multiply(p, hasEntropy ? TSimd.MultiplyAdd(entropyScale, TSimd.Max(least, a), scale) : scale);
            if (weights != null)
                dx = TSimd.MultiplyAdd(smoothing, TSimd.Load(weights + i), dx);
            if (largest != null)
                TSimd.Store(TSimd.Max(TSimd.Load(largest + i), TSimd.Multiply(TSimd.Abs(dx), m)), largest + i);
            if (softCap > 0)
            {
                TVector ratio = TSimd.Multiply(a, inward);
                dx = TSimd.Multiply(dx, TSimd.Multiply(TSimd.Subtract(one, ratio), TSimd.Add(one, ratio)));
            }
            TSimd.Store(TSimd.Multiply(dx, factor), logits + i);
        }
    }
}
