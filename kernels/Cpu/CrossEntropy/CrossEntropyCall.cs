using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>The inputs of a cross-entropy call, and what positions read of them.</summary>
internal readonly unsafe struct CrossEntropyCall(in CrossEntropyProblem problem, ReadOnlySpan<RawView> operands)
{
    public readonly CrossEntropyProblem Problem = problem;
    public readonly RawView Hidden = operands[CrossEntropyProblem.Hidden];
    public readonly RawView Classifier = operands[CrossEntropyProblem.Classifier];
    public readonly RawView Bias = operands[CrossEntropyProblem.Bias];
    public readonly RawView Targets = operands[CrossEntropyProblem.Targets];
    public readonly RawView ClassWeights = operands[CrossEntropyProblem.ClassWeights];

    /// <summary>The label of a position.</summary>
    public int Target(int position) => Targets.ReadInt32(Problem.Loss.TargetRow(position));

    /// <summary>Whether a position counts.</summary>
    public bool Counts(int position) => Target(position) != Problem.Loss.IgnoreIndex;

    /// <summary>The row of the classifier that holds a position's label, or one past the last where none does.</summary>
    public int TargetIndex(int position)
    {
        long index = (long)Target(position) - Problem.FirstClass;
        return index >= 0 && index < Problem.VocabSize ? (int)index : Problem.VocabSize;
    }

    /// <summary>The hidden row of a position.</summary>
    public byte* HiddenRow(int position) => Hidden.Address(Problem.Loss.HiddenRow(position));

    /// <summary>The weight of row <paramref name="index"/> of the classifier.</summary>
    public float ClassWeight(int index) => ClassWeights.IsPresent ? *(float*)ClassWeights.Address((long)Problem.FirstClass + index) : 1f;

    /// <summary>The capped logit of a position and a row of the classifier.</summary>
    public T Logit<T>(int position, int index) where T : unmanaged, IFloatingPointIeee754<T>
    {
        byte* hidden = HiddenRow(position), classifier = Classifier.Address(index);
        T sum = T.Zero;
        for (int k = 0; k < Problem.HiddenSize; k++)
            sum += Element.Read<T>(hidden, k, Hidden.Type) * Element.Read<T>(classifier, k, Classifier.Type);
        if (Bias.IsPresent)
            sum += Element.Read<T>(Bias.Address(index), 0, Bias.Type);
        sum /= T.CreateChecked(Problem.Temperature);
        if (Problem.LogitSoftCap == 0)
            return sum;
        T cap = T.CreateChecked(Problem.LogitSoftCap);
        return cap * T.Tanh(sum / cap);
    }
}
