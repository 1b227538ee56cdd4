using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Attention by its definition (<see cref="AttentionProblem"/>), one row after another (Vaswani et al. 2017, arXiv:1706.03762):
/// <code>
/// a_j = transform(scale · Σ_c q_c k_jc)            for the keys j that the row sees
/// lse = ln (exp(sink) + Σ_j exp(a_j))              output = gain · Σ_j exp(a_j − lse) · v_j + offset
/// </code>
/// A row that sees no key has Σ = 0, and lse −∞ (or the sink's logit). <typeparamref name="T"/> is double for the reference
/// and float for the plain computation that bounds a kernel's error. Cost: 2 · rows · keys · (headDim + valueHeadDim) FLOPs,
/// no reuse. Workspace: the scores of a row and its sums.
/// </summary>
public sealed unsafe class AttentionReference<T>(string name, DeviceKinds device) : CpuKernel<AttentionProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionProblem problem, int threads) =>
        checked((long)problem.KvLength * sizeof(T)) + AttentionProblem.MaxHeadDim * sizeof(T);

    /// <inheritdoc/>
    public override void Run(in AttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var call = new AttentionCall(problem, operands);
        for (int s = 0; s < problem.NumSequences; s++)
        {
            for (int h = 0; h < problem.NumHeads; h++)
            {
                AttentionSequence sequence = call.GetSequence(s, h / problem.GroupSize);
                for (int i = 0; i < sequence.QueryLength; i++)
                    RunRow(call, sequence, h, i, (T*)workspace);
            }
        }
    }

    private static void RunRow(in AttentionCall call, in AttentionSequence sequence, int head, int row, T* workspace)
    {
        AttentionProblem problem = call.Problem;
        T* sum = workspace;
        T* scores = sum + AttentionProblem.MaxHeadDim;
        int kvHead = head / problem.GroupSize;
        KeyRange range = call.GetRange(sequence, head, row);
        byte* q = call.QueryRow(sequence, head, row);
        T sink = T.CreateChecked(call.SinkLogit(head)), max = sink;
        for (int j = 0; j < range.End; j++)
        {
            scores[j] = T.NegativeInfinity;
            if (!range.Contains(j) || !call.IsVisible(sequence, head, row, j))
                continue;
            byte* k = call.KeyRow(sequence, kvHead, j);
            T dot = T.Zero;
            for (int c = 0; c < problem.HeadDim; c++)
                dot += Element.Read<T>(q, c, call.Query.Type) * Element.Read<T>(k, c, call.Key.Type);
            dot *= T.CreateChecked(call.KeyScale(sequence, kvHead, j));
            scores[j] = call.Transform(sequence, head, row, j, dot * T.CreateChecked(problem.Scale));
            max = T.Max(max, scores[j]);
        }
        T shift = T.IsNegativeInfinity(max) ? T.Zero : max; // −∞ − (−∞) would be NaN
        T total = T.Exp(sink - shift);
        new Span<T>(sum, problem.ValueHeadDim).Clear();
        for (int j = 0; j < range.End; j++)
        {
            if (T.IsNegativeInfinity(scores[j]))
                continue; // its value may be NaN
            T weight = T.Exp(scores[j] - shift);
            total += weight;
            weight *= T.CreateChecked(call.ValueScale(sequence, kvHead, j));
            byte* v = call.ValueRow(sequence, kvHead, j);
            for (int c = 0; c < problem.ValueHeadDim; c++)
                sum[c] += weight * Element.Read<T>(v, c, call.Value.Type);
        }
        byte* o = call.OutputRow(sequence, head, row);
        T gain = T.CreateChecked(call.Gain(head));
        float* offset = call.Offset(head);
        for (int c = 0; c < problem.ValueHeadDim; c++)
        {
            T mean = total == T.Zero ? T.Zero : sum[c] / total;
            Element.Write(o, c, call.Output.Type, gain == T.Zero ? T.CreateChecked(offset != null ? offset[c] : 0f)
                : gain * mean + T.CreateChecked(offset != null ? offset[c] : 0f));
        }
        if (call.Lse.IsPresent)
        {
            Element.Write(
                call.Lse.Address(sequence.Batch, head, (long)sequence.QueryStart + row), 0, DataType.Float32,
                total == T.Zero ? T.NegativeInfinity : shift + T.Log(total));
        }
    }
}
