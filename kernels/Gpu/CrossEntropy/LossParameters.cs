using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// What the kernels of cross-entropy know of the loss: labels, weights, and the sums over positions that <see cref="PositionSums"/>
/// leaves in scratch memory. A label outside the vocabulary has weight 0 (1 without weights) and makes its position's results NaN.
/// </summary>
internal struct LossParameters
{
    public ArrayView<int> Targets;          // [rows]
    public ArrayView<float> ClassWeights;   // [classes]
    public ArrayView<float> TokenWeights;   // [positions]
    public ArrayView<float> Divisor;        // [1]
    public ArrayView<int> Counted;          // scratch [positions]: those that count, in their order
    public ArrayView<int> Count;            // scratch [1]: how many
    public ArrayView<float> Sums;           // scratch [3]: the divisors of cross-entropy and z, the weight of all classes
    public int HasClassWeights, HasTokenWeights, HasDivisor, IsMean, IsEmptyNaN, IsReduced;
    public int Positions, Classes, Shift, IgnoreIndex;
    public int SequenceLength;              // of all rows where there is but one sequence
    public float LabelSmoothing, ZLoss;

    /// <summary>What the cross-entropy of a position is divided by.</summary>
    public readonly float CrossEntropyDivisor
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Sums[0];
    }

    /// <summary>What z is divided by.</summary>
    public readonly float ZDivisor
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Sums[1];
    }

    /// <summary>The sum of the weights of all classes.</summary>
    public readonly float TotalClassWeight
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Sums[2];
    }

    /// <summary>The hidden row of a position.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int HiddenRow(int position)
    {
        int scored = SequenceLength - Shift, row = position;
        if (Shift != 0)
            row = position / scored * SequenceLength + position % scored;
        return row;
    }

    /// <summary>The label of a position.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int Target(int position) => Targets[HiddenRow(position) + Shift];

    /// <summary>Whether a label is one of the classes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly bool IsClass(int target) => target >= 0 && target < Classes;

    /// <summary>The weight u of a position.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float TokenWeight(int position)
    {
        float weight = 1f;
        if (HasTokenWeights != 0)
            weight = TokenWeights[position];
        return weight;
    }

    /// <summary>The weight w of a class.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float ClassWeight(int target)
    {
        float weight = 1f;
        if (HasClassWeights != 0)
        {
            weight = 0f;
            if (IsClass(target))
                weight = ClassWeights[target];
        }
        return weight;
    }
}
