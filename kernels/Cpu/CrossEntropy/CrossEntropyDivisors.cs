using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// The weights of positions and what the reduction divides by (<see cref="CrossEntropyLoss"/>): one number for the cross-entropy
/// and one for z. Both are infinite, so that the quotient is 0, where nothing counts (or NaN where that is asked for).
/// </summary>
internal readonly unsafe struct CrossEntropyDivisors<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    public readonly T CrossEntropy = T.One;
    public readonly T ZLoss = T.One;
    private readonly CrossEntropyLoss _loss;
    private readonly RawView _targets, _classWeights, _tokenWeights;

    public CrossEntropyDivisors(in CrossEntropyLoss loss, ReadOnlySpan<RawView> operands)
    {
        _loss = loss;
        _targets = operands[CrossEntropyProblem.Targets];
        _classWeights = operands[CrossEntropyProblem.ClassWeights];
        _tokenWeights = operands[CrossEntropyProblem.TokenWeights];
        RawView divisor = operands[CrossEntropyProblem.Divisor];
        if (divisor.IsPresent)
            CrossEntropy = ZLoss = T.CreateChecked(*(float*)divisor.Data);
        if (loss.Reduction != CrossEntropyReduction.Mean)
            return;
        T weighted = T.Zero, total = T.Zero;
        for (int k = 0; k < loss.Positions; k++)
        {
            if (Target(k) == loss.IgnoreIndex)
                continue;
            T weight = TokenWeight(k);
            weighted += weight * LabelWeight(k);
            total += weight;
        }
        CrossEntropy = OrNothing(weighted);
        ZLoss = OrNothing(total);
    }

    /// <summary>The label of a position.</summary>
    public int Target(int position) => _targets.ReadInt32(_loss.TargetRow(position));

    /// <summary>u.</summary>
    public T TokenWeight(int position) => _tokenWeights.IsPresent ? T.CreateChecked(*(float*)_tokenWeights.Address(position)) : T.One;

    /// <summary>w_y.</summary>
    public T LabelWeight(int position) => _classWeights.IsPresent ? T.CreateChecked(*(float*)_classWeights.Address(Target(position))) : T.One;

    /// <summary>W, the weights of all classes of the vocabulary.</summary>
    public T TotalClassWeight()
    {
        if (!_classWeights.IsPresent)
            return T.CreateChecked(_loss.Classes);
        T sum = T.Zero;
        for (int v = 0; v < _loss.Classes; v++)
            sum += T.CreateChecked(*(float*)_classWeights.Address(v));
        return sum;
    }

    private T OrNothing(T sum) => sum != T.Zero ? sum : _loss.IsEmptyNaN ? T.NaN : T.PositiveInfinity;
}
