using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// Sampling by its definition (<see cref="SampleProblem"/>): sort the whole row, then walk it. <typeparamref name="T"/> is
/// double for the reference and float for the plain computation. A draw within rounding of the boundary between two tokens
/// can differ between the two: sums of float32 probabilities are exact to about 1e-7 of their total.
/// </summary>
public sealed unsafe class SampleReference<T>(string name, DeviceKinds device) : CpuKernel<SampleProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SampleProblem problem, int threads) =>
        (long)problem.Size * sizeof(int) + (long)problem.Size * sizeof(T) + sizeof(T);

    /// <inheritdoc/>
    public override void Run(in SampleProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView logits = operands[SampleProblem.Logits], uniforms = operands[SampleProblem.Uniforms], indices = operands[SampleProblem.Indices];
        T* weights = (T*)workspace;
        int* order = (int*)(weights + problem.Size);
        for (int m = 0; m < problem.Rows; m++)
        {
            float* row = (float*)logits.Address(m);
            *(int*)indices.Address(m) = problem.Temperature == 0
                ? ArgMaxReference.Find(row, problem.Size)
                : Draw(problem, row, *(float*)uniforms.Address(m), weights, order);
        }
    }

    private static int Draw(in SampleProblem problem, float* logits, float uniform, T* weights, int* order)
    {
        int first = ArgMaxReference.Find(logits, problem.Size);
        if (first < 0 || float.IsPositiveInfinity(logits[first]))
            return -1;
        int kept = 0;
        for (int i = 0; i < problem.Size; i++)
        {
            if (logits[i] > float.NegativeInfinity)
                order[kept++] = i;
        }
        new Span<int>(order, kept).Sort(new ByLogit(logits));

        if (problem.TopK > 0)
            kept = Math.Min(kept, problem.TopK);
        T max = T.CreateChecked(logits[first]), temperature = T.CreateChecked(problem.Temperature);
        for (int i = 0; i < kept; i++)
            weights[i] = T.Exp((T.CreateChecked(logits[order[i]]) - max) / temperature);
        if (problem.TopP < 1)
            kept = FindCrossing(weights, kept, T.CreateChecked(problem.TopP)) + 1;
        // Compared as exponents, because that keeps a prefix whatever the rounding of exp; ln 0 = −∞ keeps all.
        T lowest = T.Log(T.CreateChecked(problem.MinP));
        while ((T.CreateChecked(logits[order[kept - 1]]) - max) / temperature < lowest)
            kept--;
        return order[FindCrossing(weights, kept, T.CreateChecked(uniform))];
    }

    // The first index whose cumulative weight exceeds the share of the total, or the last index.
    private static int FindCrossing(T* weights, int count, T share)
    {
        T total = T.Zero, sum = T.Zero;
        for (int i = 0; i < count; i++)
            total += weights[i];
        for (int i = 0; i < count; i++)
        {
            sum += weights[i];
            if (sum > share * total)
                return i;
        }
        return count - 1;
    }

    private readonly struct ByLogit(float* logits) : IComparer<int>
    {
        public int Compare(int x, int y) =>
            logits[x] > logits[y] ? -1 : logits[x] < logits[y] ? 1 : x.CompareTo(y);
    }
}
