using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// What the gradient of a logit needs of its position. With the words of <see cref="CrossEntropyBackwardProblem"/>,
/// dx = p · (<see cref="Scale"/> − <see cref="EntropyScale"/> · a) − <see cref="Smoothing"/> · w_v − [v = y] · <see cref="Label"/>,
/// before soft cap and temperature; p = exp(a − <see cref="Lse"/>).
/// </summary>
internal readonly struct CrossEntropyRowGradient<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <summary>L.</summary>
    public required T Lse { get; init; }

    /// <summary>k · [(1 − α) · w_y + α / classes · W] + k' + gradEntropy · (L − H): the factor of p.</summary>
    public required T Scale { get; init; }

    /// <summary>The gradient of the entropy: the factor of p · a.</summary>
    public required T EntropyScale { get; init; }

    /// <summary>k · α / classes: the factor of w_v.</summary>
    public required T Smoothing { get; init; }

    /// <summary>k · (1 − α) · w_y.</summary>
    public required T Label { get; init; }
}

/// <summary>The gradients a backward call is given, position by position.</summary>
internal readonly struct CrossEntropyGradients<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    private readonly CrossEntropyBackwardProblem _problem;
    private readonly CrossEntropyDivisors<T> _divisors;
    private readonly RawView _lse, _entropy, _gradLoss, _gradLse, _gradEntropy;
    private readonly T _totalClassWeight;

    public CrossEntropyGradients(in CrossEntropyBackwardProblem problem, ReadOnlySpan<RawView> operands)
    {
        _problem = problem;
        _divisors = new CrossEntropyDivisors<T>(problem.Forward.Loss, operands);
        _lse = operands[CrossEntropyBackwardProblem.Lse];
        _entropy = operands[CrossEntropyBackwardProblem.Entropy];
        _gradLoss = operands[CrossEntropyBackwardProblem.GradLoss];
        _gradLse = operands[CrossEntropyBackwardProblem.GradLse];
        _gradEntropy = operands[CrossEntropyBackwardProblem.GradEntropy];
        _totalClassWeight = problem.Forward.Loss.LabelSmoothing > 0 ? _divisors.TotalClassWeight() : T.Zero;
    }

    /// <summary>The numbers of a position that counts.</summary>
    public CrossEntropyRowGradient<T> Of(int position)
    {
        CrossEntropyLoss loss = _problem.Forward.Loss;
        T lse = Read(_lse, position), alpha = T.CreateChecked(loss.LabelSmoothing), z = T.CreateChecked(loss.ZLoss);
        T grad = !_gradLoss.IsPresent ? T.One : Read(_gradLoss, loss.Reduction == CrossEntropyReduction.None ? position : 0);
        grad *= _divisors.TokenWeight(position);
        T k = grad / _divisors.CrossEntropy, kz = grad / _divisors.ZLoss * (z + z) * lse;
        if (_gradLse.IsPresent)
            kz += Read(_gradLse, position);
        T label = k * (T.One - alpha) * _divisors.LabelWeight(position), smoothing = k * alpha / T.CreateChecked(loss.Classes);
        T gradEntropy = _gradEntropy.IsPresent ? Read(_gradEntropy, position) : T.Zero;
        T scale = label + smoothing * _totalClassWeight + kz;
        if (_gradEntropy.IsPresent)
            scale += gradEntropy * (lse - Read(_entropy, position));
        return new CrossEntropyRowGradient<T> { Lse = lse, Scale = scale, EntropyScale = gradEntropy, Smoothing = smoothing, Label = label };
    }

    private static unsafe T Read(in RawView view, int index) => T.CreateChecked(*(float*)view.Address(index));
}
