using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>Takes the logits of one position and some neighbouring classes up into the position's state. Whole vectors are read.</summary>
internal static unsafe class LogitState<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float Log2E = 1.44269504f;

    /// <summary>Adds logits to a state.</summary>
    /// <param name="state">The state.</param>
    /// <param name="logits">The logits, −∞ from the last to the end of its vector.</param>
    /// <param name="count">How many.</param>
    /// <param name="firstClass">The class of the first.</param>
    /// <param name="label">Where the position's label is among them, or a number outside.</param>
    /// <param name="weights">The classes' weights, 0 past the last; null where their sum is not wanted.</param>
    /// <param name="wantsProduct">Whether the sum for the entropy is wanted.</param>
    /// <param name="wantsBest">Whether the most likely class is wanted.</param>
    public static void Add(
        ref CrossEntropyState<float> state, float* logits, int count, int firstClass, int label, float* weights, bool wantsProduct, bool wantsBest)
    {
        int padded = Rows<TSimd, TVector>.Padded(count);
        if ((uint)label < (uint)count)
            state.Label = logits[label];
        if (weights != null)
            state.Weighted += WeightedSum(logits, weights, padded);
        float max = Softmax<TSimd, TVector>.Max(logits, padded);
        if (wantsBest && (state.Best < 0 || max > state.Max))
            state.Best = firstClass + Math.Max(0, new ReadOnlySpan<float>(logits, count).IndexOf(max));
        if (max > state.Max)
        {
            float fall = state.Max - max, factor = MathF.Exp(fall);
            state.Product = factor == 0f ? 0f : factor * (state.Product + fall * state.Sum); // −∞ and 0 for the first
            state.Sum *= factor;
            state.Max = max;
        }
        float shift = state.Max == float.NegativeInfinity ? 0f : state.Max; // −∞ − (−∞) would be NaN
        if (wantsProduct)
            SumExpAndProduct(logits, padded, shift, ref state.Sum, ref state.Product);
        else
            state.Sum += SumExp(logits, padded, shift);
    }

    /// <summary>sums += logits, whole vectors.</summary>
    public static void AddTo(float* sums, float* logits, int count)
    {
        for (int i = 0; i < count; i += TSimd.Width)
            TSimd.Store(TSimd.Add(TSimd.Load(sums + i), TSimd.Load(logits + i)), sums + i);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float SumExp(float* logits, int count, float max)
    {
        TVector m = TSimd.Broadcast(max), log2E = TSimd.Broadcast(Log2E), sum0 = TSimd.Zero, sum1 = TSimd.Zero;
        int i = 0;
        for (; i <= count - 2 * TSimd.Width; i += 2 * TSimd.Width)
        {
            sum0 = TSimd.Add(sum0, TSimd.Exp2(TSimd.Multiply(TSimd.Subtract(TSimd.Load(logits + i), m), log2E)));
            sum1 = TSimd.Add(sum1, TSimd.Exp2(TSimd.Multiply(TSimd.Subtract(TSimd.Load(logits + i + TSimd.Width), m), log2E)));
        }
        if (i < count)
            sum0 = TSimd.Add(sum0, TSimd.Exp2(TSimd.Multiply(TSimd.Subtract(TSimd.Load(logits + i), m), log2E)));
        return TSimd.Sum(TSimd.Add(sum0, sum1));
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void SumExpAndProduct(float* logits, int count, float max, ref float sum, ref float product)
    {
        // −∞ would make 0 · −∞ of what is nothing; the second operand is the result where it is a NaN. The sums run as in SumExp,
        // so that a loss has the same bits with and without entropies.
        TVector m = TSimd.Broadcast(max), log2E = TSimd.Broadcast(Log2E), least = TSimd.Broadcast(float.MinValue);
        TVector sum0 = TSimd.Zero, sum1 = TSimd.Zero, products = TSimd.Zero;
        int whole = count / (2 * TSimd.Width) * 2 * TSimd.Width;
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector fall = TSimd.Subtract(TSimd.Load(logits + i), m), e = TSimd.Exp2(TSimd.Multiply(fall, log2E));
            if (i < whole && i / TSimd.Width % 2 == 1)
                sum1 = TSimd.Add(sum1, e);
            else
                sum0 = TSimd.Add(sum0, e);
            products = TSimd.MultiplyAdd(e, TSimd.Max(least, fall), products);
        }
        sum += TSimd.Sum(TSimd.Add(sum0, sum1));
        product += TSimd.Sum(products);
    }

    // A class without weight adds nothing, not even where its logit is −∞.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float WeightedSum(float* logits, float* weights, int count)
    {
        TVector sum = TSimd.Zero;
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector w = TSimd.Load(weights + i);
            sum = TSimd.Add(sum, TSimd.SelectLess(TSimd.Zero, w, TSimd.Multiply(w, TSimd.Load(logits + i)), TSimd.Zero));
        }
        return TSimd.Sum(sum);
    }
}
