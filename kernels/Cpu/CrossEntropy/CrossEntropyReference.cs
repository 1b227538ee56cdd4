using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// Cross-entropy by its definition (<see cref="CrossEntropyProblem"/>), one position after another with all of its logits in the
/// workspace. <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class CrossEntropyReference<T>(string name, DeviceKinds device) : CpuKernel<CrossEntropyProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyProblem problem, int threads) => 2L * problem.VocabSize * sizeof(T);

    /// <inheritdoc/>
    public override void Run(in CrossEntropyProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var call = new CrossEntropyCall(problem, operands);
        var results = new CrossEntropyResults<T>(problem.Loss, operands);
        T* logits = (T*)workspace, sums = logits + problem.VocabSize;
        new Span<T>(sums, problem.VocabSize).Clear();
        int counted = 0;
        for (int k = 0; k < problem.Loss.Positions; k++)
        {
            if (!call.Counts(k))
            {
                results.Skip(k);
                continue;
            }
            counted++;
            for (int v = 0; v < problem.VocabSize; v++)
            {
                logits[v] = call.Logit<T>(k, v);
                sums[v] += logits[v];
            }
            results.Add(k, Summarise(call, k, logits));
        }
        results.Finish();
        RawView means = operands[CrossEntropyProblem.MeanLogit];
        for (int v = 0; means.IsPresent && v < problem.VocabSize; v++)
            *(float*)means.Address(v) = float.CreateChecked(counted == 0 ? T.Zero : sums[v] / T.CreateChecked(counted));
    }

    private static CrossEntropyState<T> Summarise(in CrossEntropyCall call, int position, T* logits)
    {
        var state = CrossEntropyState<T>.Empty;
        for (int v = 0; v < call.Problem.VocabSize; v++)
        {
            if (state.Best < 0 || logits[v] > state.Max)
                state.Best = call.Problem.FirstClass + v;
            state.Max = T.Max(state.Max, logits[v]);
        }
        for (int v = 0; v < call.Problem.VocabSize; v++)
        {
            T exp = T.IsNegativeInfinity(logits[v]) ? T.Zero : T.Exp(logits[v] - state.Max), weight = T.CreateChecked(call.ClassWeight(v));
            state.Sum += exp;
            state.Product += exp == T.Zero ? T.Zero : exp * (logits[v] - state.Max);
            if (call.Problem.Loss.LabelSmoothing > 0)
                state.Weighted += weight == T.Zero ? T.Zero : weight * logits[v];
        }
        if (call.TargetIndex(position) is var target && target < call.Problem.VocabSize)
            state.Label = logits[target];
        return state;
    }
}
