using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Attention over lists of keys by its definition (<see cref="SparseAttentionProblem"/>), one row after another: the scores of its keys,
/// their softmax, the weighted sum. <typeparamref name="T"/> is double for the reference and float for the plain computation that bounds a
/// kernel's error. Workspace: the scores of a row and its sums.
/// </summary>
public sealed unsafe class SparseAttentionReference<T>(string name, DeviceKinds device) : CpuKernel<SparseAttentionProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseAttentionProblem problem, int threads) =>
        ((long)problem.MaxCount + AttentionProblem.MaxHeadDim) * sizeof(T);

    /// <inheritdoc/>
    public override void Run(in SparseAttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var call = new SparseAttentionCall(problem, operands);
        for (int b = 0; b < problem.BatchSize; b++)
        {
            for (int h = 0; h < problem.NumHeads; h++)
            {
                for (int i = 0; i < problem.QueryLength; i++)
                    RunRow(call, b, h, i, (T*)workspace);
            }
        }
    }

    private static void RunRow(in SparseAttentionCall call, int batch, int head, int row, T* workspace)
    {
        SparseAttentionProblem problem = call.Problem;
        T* sums = workspace, scores = sums + AttentionProblem.MaxHeadDim;
        int kvHead = head / problem.GroupSize, count = call.CountOf(batch, head, row);
        byte* q = call.QueryRow(batch, head, row);
        T max = T.NegativeInfinity;
        for (int p = 0; p < count; p++)
        {
            byte* k = call.KeyRow(batch, kvHead, call.ColumnOf(batch, head, row, p));
            T dot = T.Zero;
            for (int c = 0; c < problem.HeadDim; c++)
                dot += Element.Read<T>(q, c, call.Query.Type) * Element.Read<T>(k, c, call.Key.Type);
            scores[p] = Cap(problem, dot * T.CreateChecked(problem.Scale));
            max = T.Max(max, scores[p]);
        }
        T shift = T.IsNegativeInfinity(max) ? T.Zero : max, total = T.Zero; // −∞ − (−∞) would be NaN
        new Span<T>(sums, problem.ValueHeadDim).Clear();
        for (int p = 0; p < count; p++)
        {
            T weight = T.Exp(scores[p] - shift);
            total += weight;
            byte* v = call.ValueRow(batch, kvHead, call.ColumnOf(batch, head, row, p));
            for (int c = 0; c < problem.ValueHeadDim; c++)
                sums[c] += weight * Element.Read<T>(v, c, call.Value.Type);
        }
        byte* output = call.OutputRow(batch, head, row);
        for (int c = 0; c < problem.ValueHeadDim; c++)
            Element.Write(output, c, call.Output.Type, total == T.Zero ? T.Zero : sums[c] / total);
        if (call.Lse.IsPresent)
            *call.LseOf(batch, head, row) = total == T.Zero ? float.NegativeInfinity : float.CreateChecked(shift + T.Log(total));
    }

    private static T Cap(in SparseAttentionProblem problem, T score)
    {
        T cap = T.CreateChecked(problem.LogitSoftCap);
        return problem.LogitSoftCap > 0 ? cap * T.Tanh(score / cap) : score;
    }
}
