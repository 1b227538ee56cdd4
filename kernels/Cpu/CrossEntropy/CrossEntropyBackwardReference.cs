using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// The gradients of cross-entropy by their definition (<see cref="CrossEntropyBackwardProblem"/>), exact whatever the filter, with
/// all sums in the workspace. <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class CrossEntropyBackwardReference<T>(string name, DeviceKinds device) : CpuKernel<CrossEntropyBackwardProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyBackwardProblem problem, int threads) =>
        checked(((long)problem.Forward.VocabSize * (problem.Forward.HiddenSize + 2L) + problem.Forward.HiddenSize) * sizeof(T));

    /// <inheritdoc/>
    public override void Run(in CrossEntropyBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        CrossEntropyProblem forward = problem.Forward;
        var call = new CrossEntropyCall(forward, operands);
        var gradients = new CrossEntropyGradients<T>(problem, operands);
        RawView gradHidden = operands[CrossEntropyBackwardProblem.GradHidden], gradClassifier = operands[CrossEntropyBackwardProblem.GradClassifier];
        RawView gradBias = operands[CrossEntropyBackwardProblem.GradBias];
        int size = forward.HiddenSize;
        T* logits = (T*)workspace, biasSums = logits + forward.VocabSize, hiddenSums = biasSums + forward.VocabSize, classifierSums = hiddenSums + size;
        Clear(biasSums, forward.VocabSize);
        Clear(classifierSums, (long)forward.VocabSize * size);
        for (int i = 0; gradHidden.IsPresent && i < forward.Loss.Rows; i++)
        {
            for (int c = 0; c < size; c++)
                Element.Write(gradHidden.Address(i), c, gradHidden.Type, T.Zero);
        }
        for (int k = 0; k < forward.Loss.Positions; k++)
        {
            if (!call.Counts(k))
                continue;
            CrossEntropyRowGradient<T> row = gradients.Of(k);
            byte* hidden = call.HiddenRow(k);
            Clear(hiddenSums, size);
            for (int v = 0; v < forward.VocabSize; v++)
            {
                T dx = Gradient(call, row, v, call.Logit<T>(k, v), v == call.TargetIndex(k));
                biasSums[v] += dx;
                byte* classifier = call.Classifier.Address(v);
                for (int c = 0; c < size; c++)
                {
                    hiddenSums[c] += dx * Element.Read<T>(classifier, c, call.Classifier.Type);
                    classifierSums[(long)v * size + c] += dx * Element.Read<T>(hidden, c, call.Hidden.Type);
                }
            }
            for (int c = 0; gradHidden.IsPresent && c < size; c++)
                Element.Write(gradHidden.Address(forward.Loss.HiddenRow(k)), c, gradHidden.Type, hiddenSums[c]);
        }
        for (int v = 0; v < forward.VocabSize; v++)
        {
            for (int c = 0; gradClassifier.IsPresent && c < size; c++)
                Element.Write(gradClassifier.Address(v), c, gradClassifier.Type, classifierSums[(long)v * size + c]);
            if (gradBias.IsPresent)
                Element.Write(gradBias.Address(v), 0, gradBias.Type, biasSums[v]);
        }
    }

    private static T Gradient(in CrossEntropyCall call, in CrossEntropyRowGradient<T> row, int index, T logit, bool isLabel)
    {
        // For the label, Label · (p − 1) where p is near 1 loses less than Scale · p − Label does.
        T p = T.Exp(logit - row.Lse), label = isLabel ? row.Label : T.Zero;
        T dx = label * (p - T.One) - row.Smoothing * T.CreateChecked(call.ClassWeight(index));
        if (p != T.Zero)
            dx += p * (row.Scale - label - row.EntropyScale * logit);
        if (call.Problem.LogitSoftCap > 0)
        {
            T ratio = logit / T.CreateChecked(call.Problem.LogitSoftCap);
            dx *= (T.One - ratio) * (T.One + ratio);
        }
        return dx / T.CreateChecked(call.Problem.Temperature);
    }

    private static void Clear(T* target, long count)
    {
        for (long i = 0; i < count; i++)
            target[i] = T.Zero;
    }
}
