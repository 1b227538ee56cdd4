using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// Makes of each position's state what a call writes: loss, log-sum-exp, log-probability, entropy, most likely class, accuracy; or
/// the state itself. Positions come in their order, so that sums do not depend on how states were found.
/// </summary>
internal unsafe ref struct CrossEntropyResults<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    private readonly CrossEntropyLoss _loss;
    private readonly ReadOnlySpan<RawView> _operands;
    private readonly CrossEntropyDivisors<T> _divisors;
    private readonly T _totalClassWeight;
    private T _sum, _zSum;
    private long _counted, _correct;

    public CrossEntropyResults(in CrossEntropyLoss loss, ReadOnlySpan<RawView> operands)
    {
        _loss = loss;
        _operands = operands;
        _divisors = new CrossEntropyDivisors<T>(loss, operands);
        _totalClassWeight = loss.LabelSmoothing > 0 ? _divisors.TotalClassWeight() : T.Zero;
    }

    /// <summary>Takes up a position that counts.</summary>
    public void Add(int position, in CrossEntropyState<T> state)
    {
        if (_operands[CrossEntropyProblem.State] is { IsPresent: true } states)
        {
            float* target = (float*)states.Address(position);
            target[0] = float.CreateChecked(state.Max);
            target[1] = float.CreateChecked(state.Sum);
            target[2] = float.CreateChecked(state.Label);
            target[3] = float.CreateChecked(state.Weighted);
            target[4] = float.CreateChecked(state.Product);
        }
        T lse = state.Lse, ce = _divisors.LabelWeight(position) * (lse - state.Label);
        if (_loss.LabelSmoothing > 0)
        {
            T alpha = T.CreateChecked(_loss.LabelSmoothing);
            ce = (T.One - alpha) * ce + alpha / T.CreateChecked(_loss.Classes) * (_totalClassWeight * lse - state.Weighted);
        }
        T weight = _divisors.TokenWeight(position), z = _loss.ZLoss > 0 ? T.CreateChecked(_loss.ZLoss) * lse * lse : T.Zero;
        z = z * weight / _divisors.ZLoss;
        T loss = ce * weight / _divisors.CrossEntropy + z;
        _sum += loss;
        _zSum += z;
        _counted++;
        if (state.Best == _divisors.Target(position))
            _correct++;
        Write(position, lse, state.Label - lse, state, state.Best);
        if (_loss.Reduction == CrossEntropyReduction.None)
            Write(position, loss, z);
    }

    /// <summary>Takes up a position whose label is ignored.</summary>
    public readonly void Skip(int position)
    {
        if (_operands[CrossEntropyProblem.State] is { IsPresent: true } states)
        {
            float* target = (float*)states.Address(position);
            for (int i = 0; i < CrossEntropyProblem.StateSize; i++)
                target[i] = 0f;
        }
        Write(position, T.Zero, T.Zero, default, -1);
        if (_loss.Reduction == CrossEntropyReduction.None)
            Write(position, T.Zero, T.Zero);
    }

    /// <summary>Writes what is one number for all positions.</summary>
    public readonly void Finish()
    {
        if (_loss.Reduction != CrossEntropyReduction.None)
        {
            bool isNaN = _counted == 0 && _loss.IsEmptyNaN && _loss.Reduction == CrossEntropyReduction.Mean;
            Write(0, isNaN ? T.NaN : _sum, isNaN ? T.NaN : _zSum);
        }
        if (_operands[CrossEntropyProblem.Accuracy] is { IsPresent: true } accuracy)
            *(float*)accuracy.Data = _counted == 0 ? 0f : (float)((double)_correct / _counted);
    }

    private readonly void Write(int index, T loss, T z)
    {
        Store(CrossEntropyProblem.LossOutput, index, loss);
        Store(CrossEntropyProblem.ZLossOutput, index, z);
    }

    private readonly void Write(int position, T lse, T logProbability, in CrossEntropyState<T> state, int best)
    {
        Store(CrossEntropyProblem.Lse, position, lse);
        Store(CrossEntropyProblem.LogProbability, position, logProbability);
        if (_operands[CrossEntropyProblem.Entropy].IsPresent)
            Store(CrossEntropyProblem.Entropy, position, best < 0 && state.Sum == T.Zero ? T.Zero : state.Entropy);
        if (_operands[CrossEntropyProblem.BestClass] is { IsPresent: true } classes)
            *(int*)classes.Address(position) = best;
    }

    private readonly void Store(int operand, int index, T value)
    {
        if (_operands[operand] is { IsPresent: true } view)
            *(float*)view.Address(index) = float.CreateChecked(value);
    }
}
