using System.Numerics;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// What one pass over the logits a of a position, or over a part of them, leaves behind: the online softmax (Milakov and
/// Gimelshein 2018, arXiv:1805.02867) with the sums that the loss needs besides. A part without logits is <see cref="Empty"/>.
/// </summary>
internal struct CrossEntropyState<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <summary>The largest logit m.</summary>
    public T Max;

    /// <summary>Σ exp(a − m).</summary>
    public T Sum;

    /// <summary>The label's logit; −∞ where it is not in this part.</summary>
    public T Label;

    /// <summary>Σ w · a; 0 without label smoothing.</summary>
    public T Weighted;

    /// <summary>Σ exp(a − m) · (a − m), for the entropy: of the logits themselves the sum would cancel against L.</summary>
    public T Product;

    /// <summary>The class with the largest logit, the lowest of equal ones; −1 for none.</summary>
    public int Best;

    /// <summary>The state of no logits.</summary>
    public static CrossEntropyState<T> Empty => new() { Max = T.NegativeInfinity, Label = T.NegativeInfinity, Best = -1 };

    /// <summary>The log-sum-exp; −∞ when every logit is.</summary>
    public readonly T Lse => Sum == T.Zero ? T.NegativeInfinity : Max + T.Log(Sum);

    /// <summary>L − Σ p · a.</summary>
    public readonly T Entropy => T.Log(Sum) - Product / Sum;

    /// <summary>The same in double precision.</summary>
    public readonly CrossEntropyState<double> ToDouble() => new()
    {
        Max = double.CreateChecked(Max),
        Sum = double.CreateChecked(Sum),
        Label = double.CreateChecked(Label),
        Weighted = double.CreateChecked(Weighted),
        Product = double.CreateChecked(Product),
        Best = Best,
    };

    /// <summary>Takes up the state of other classes: the same in any order but for rounding.</summary>
    public void Merge(in CrossEntropyState<T> other)
    {
        T max = T.Max(Max, other.Max), shift = T.IsNegativeInfinity(max) ? T.Zero : max; // −∞ − (−∞) would be NaN
        T factor = T.Exp(Max - shift), otherFactor = T.Exp(other.Max - shift);
        Product = Moved(this, shift, factor) + Moved(other, shift, otherFactor);
        Sum = Sum * factor + other.Sum * otherFactor;
        Label = T.Max(Label, other.Label);
        Weighted += other.Weighted;
        if (other.Best >= 0 && (Best < 0 || other.Max > Max || (other.Max == Max && other.Best < Best)))
            Best = other.Best;
        Max = max;
    }

    // The product under another maximum.
    private static T Moved(in CrossEntropyState<T> state, T max, T factor) =>
        factor == T.Zero ? T.Zero : factor * (state.Product + (state.Max - max) * state.Sum);
}
