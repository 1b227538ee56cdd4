using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Attention by its definition, one row after another (Vaswani et al. 2017, arXiv:1706.03762):
/// <code>
/// s_j = scale · Σ_c q_c k_jc    for the keys j that the row sees
/// lse = ln Σ_j exp(s_j)         output = Σ_j exp(s_j − lse) · v_j
/// </code>
/// A row that sees no key has output 0 and lse −∞. <typeparamref name="T"/> is double for the reference and float for the
/// plain computation that bounds a kernel's error. Cost: 2 · rows · keys · (headDim + valueHeadDim) FLOPs, no reuse.
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
        RawView query = operands[AttentionProblem.Query], key = operands[AttentionProblem.Key];
        RawView value = operands[AttentionProblem.Value], output = operands[AttentionProblem.Output], lse = operands[AttentionProblem.Lse];
        T* sum = (T*)workspace;
        T* scores = sum + AttentionProblem.MaxHeadDim;
        for (int b = 0; b < problem.BatchSize; b++)
        {
            for (int h = 0; h < problem.NumHeads; h++)
            {
                int kvHead = h / problem.GroupSize;
                for (int i = 0; i < problem.QueryLength; i++)
                {
                    int visible = problem.VisibleKeys(i);
                    byte* q = query.Address(b, i, h);
                    T max = T.NegativeInfinity;
                    for (int j = 0; j < visible; j++)
                    {
                        byte* k = key.Address(b, j, kvHead);
                        T dot = T.Zero;
                        for (int c = 0; c < problem.HeadDim; c++)
                            dot += Element.Read<T>(q, c, query.Type) * Element.Read<T>(k, c, key.Type);
                        scores[j] = dot * T.CreateChecked(problem.Scale);
                        max = T.Max(max, scores[j]);
                    }
                    T shift = T.IsNegativeInfinity(max) ? T.Zero : max; // −∞ − (−∞) would be NaN
                    T total = T.Zero;
                    new Span<T>(sum, problem.ValueHeadDim).Clear();
                    for (int j = 0; j < visible; j++)
                    {
                        T weight = T.Exp(scores[j] - shift);
                        total += weight;
                        byte* v = value.Address(b, j, kvHead);
                        for (int c = 0; c < problem.ValueHeadDim; c++)
                            sum[c] += weight * Element.Read<T>(v, c, value.Type);
                    }
                    byte* o = output.Address(b, i, h);
                    for (int c = 0; c < problem.ValueHeadDim; c++)
                        Element.Write(o, c, output.Type, total == T.Zero ? T.Zero : sum[c] / total);
                    if (lse.IsPresent)
                        Element.Write(lse.Address(b, h, i), 0, DataType.Float32, total == T.Zero ? T.NegativeInfinity : shift + T.Log(total));
                }
            }
        }
    }
}
