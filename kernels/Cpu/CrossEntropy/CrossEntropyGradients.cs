using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

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
        _totalClassWeight = problem.Forward.Loss.LabelSmoothing > 0 ? _divisors.TotalClassWeight() : T.Zero;
        if (operands.Length <= CrossEntropyProblem.InputCount)
            return; // a training step gives no more
        _lse = operands[CrossEntropyBackwardProblem.Lse];
        _entropy = operands[CrossEntropyBackwardProblem.Entropy];
        _gradLoss = operands[CrossEntropyBackwardProblem.GradLoss];
        _gradLse = operands[CrossEntropyBackwardProblem.GradLse];
        _gradEntropy = operands[CrossEntropyBackwardProblem.GradEntropy];
    }

    /// <summary>The numbers of a position that counts.</summary>
    public CrossEntropyRowGradient<T> Of(int position) => Of(position, Read(_lse, position));

    /// <summary>The numbers of a position that counts, whose log-sum-exp is <paramref name="lse"/>.</summary>
    public CrossEntropyRowGradient<T> Of(int position, T lse)
    {
        CrossEntropyLoss loss = _problem.Forward.Loss;
        T alpha = T.CreateChecked(loss.LabelSmoothing), z = T.CreateChecked(loss.ZLoss);
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
