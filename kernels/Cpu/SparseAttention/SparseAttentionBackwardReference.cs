using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The gradients of attention over lists by their definition (<see cref="SparseAttentionBackwardProblem"/>), each element as one sum: the
/// scores are computed anew for every sum, and the rows that list a key are found by searching each. A row whose lse is −∞ saw nothing.
/// <typeparamref name="T"/> is double for the reference and float for the plain computation that bounds a kernel's error.
/// </summary>
public sealed unsafe class SparseAttentionBackwardReference<T>(string name, DeviceKinds device)
    : CpuKernel<SparseAttentionBackwardProblem>(name, device) where T : unmanaged, IFloatingPointIeee754<T>
{
    private const int MaxHeadDim = AttentionProblem.MaxHeadDim;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseAttentionBackwardProblem problem, int threads) => 2L * MaxHeadDim * sizeof(T);

    /// <inheritdoc/>
    public override void Run(in SparseAttentionBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var pass = new Pass
        {
            Call = new SparseAttentionCall(problem.Forward, operands),
            GradOutput = operands[SparseAttentionBackwardProblem.GradOutput],
            GradLse = operands[SparseAttentionBackwardProblem.GradLse],
            GradQuery = operands[SparseAttentionBackwardProblem.GradQuery],
            GradKey = operands[SparseAttentionBackwardProblem.GradKey],
            GradValue = operands[SparseAttentionBackwardProblem.GradValue],
            Sums = (T*)workspace,
        };
        for (int b = 0; b < problem.Forward.BatchSize; b++)
        {
            for (int h = 0; pass.GradQuery.IsPresent && h < problem.Forward.NumHeads; h++)
            {
                for (int i = 0; i < problem.Forward.QueryLength; i++)
                    pass.WriteQuery(b, h, i);
            }
            for (int kvHead = 0; kvHead < problem.Forward.NumKvHeads; kvHead++)
            {
                for (int j = 0; j < problem.Forward.KvLength; j++)
                    pass.WriteKeyAndValue(b, kvHead, j);
            }
        }
    }

    private struct Pass
    {
        public SparseAttentionCall Call;
        public RawView GradOutput, GradLse, GradQuery, GradKey, GradValue;
        public T* Sums;

        public readonly void WriteQuery(int batch, int head, int row)
        {
            SparseAttentionProblem problem = Call.Problem;
            T lse = Lse(batch, head, row), delta = Delta(batch, head, row);
            int count = T.IsNegativeInfinity(lse) ? 0 : Call.CountOf(batch, head, row);
            new Span<T>(Sums, problem.HeadDim).Clear();
            for (int p = 0; p < count; p++)
            {
                int key = Call.ColumnOf(batch, head, row, p);
                T gradProduct = GetPair(batch, head, row, key, lse, delta).GradProduct;
                byte* k = Call.KeyRow(batch, head / problem.GroupSize, key);
                for (int c = 0; c < problem.HeadDim; c++)
                    Sums[c] += gradProduct * Element.Read<T>(k, c, Call.Key.Type);
            }
            for (int c = 0; c < problem.HeadDim; c++)
                Element.Write(GradQuery.Address(batch, row, head), c, GradQuery.Type, T.CreateChecked(problem.Scale) * Sums[c]);
        }

        public readonly void WriteKeyAndValue(int batch, int kvHead, int key)
        {
            SparseAttentionProblem problem = Call.Problem;
            T* keySums = Sums, valueSums = Sums + MaxHeadDim;
            new Span<T>(Sums, 2 * MaxHeadDim).Clear();
            for (int head = kvHead * problem.GroupSize; head < (kvHead + 1) * problem.GroupSize; head++)
            {
                for (int i = 0; i < problem.QueryLength; i++)
                {
                    T lse = Lse(batch, head, i);
                    if (T.IsNegativeInfinity(lse) || !Call.Lists(batch, head, i, key))
                        continue;
                    (T p, T gradProduct) = GetPair(batch, head, i, key, lse, Delta(batch, head, i));
                    byte* q = Call.QueryRow(batch, head, i), gradOutput = GradOutput.Address(batch, i, head);
                    for (int c = 0; c < problem.HeadDim; c++)
                        keySums[c] += gradProduct * Element.Read<T>(q, c, Call.Query.Type);
                    for (int c = 0; c < problem.ValueHeadDim; c++)
                        valueSums[c] += p * Element.Read<T>(gradOutput, c, GradOutput.Type);
                }
            }
            for (int c = 0; GradKey.IsPresent && c < problem.HeadDim; c++)
                Element.Write(GradKey.Address(batch, key, kvHead), c, GradKey.Type, T.CreateChecked(problem.Scale) * keySums[c]);
            for (int c = 0; GradValue.IsPresent && c < problem.ValueHeadDim; c++)
                Element.Write(GradValue.Address(batch, key, kvHead), c, GradValue.Type, valueSums[c]);
        }

        // p, and dX: what flows on to scale · q · k.
        private readonly (T P, T GradProduct) GetPair(int batch, int head, int row, int key, T lse, T delta)
        {
            SparseAttentionProblem problem = Call.Problem;
            int kvHead = head / problem.GroupSize;
            byte* q = Call.QueryRow(batch, head, row), k = Call.KeyRow(batch, kvHead, key);
            byte* gradOutput = GradOutput.Address(batch, row, head), v = Call.ValueRow(batch, kvHead, key);
            T score = T.Zero, gradP = T.Zero, slope = T.One;
            for (int c = 0; c < problem.HeadDim; c++)
                score += Element.Read<T>(q, c, Call.Query.Type) * Element.Read<T>(k, c, Call.Key.Type);
            for (int c = 0; c < problem.ValueHeadDim; c++)
                gradP += Element.Read<T>(gradOutput, c, GradOutput.Type) * Element.Read<T>(v, c, Call.Value.Type);
            score *= T.CreateChecked(problem.Scale);
            if (problem.LogitSoftCap > 0)
            {
                T cap = T.CreateChecked(problem.LogitSoftCap), t = T.Tanh(score / cap);
                (score, slope) = (cap * t, T.One - t * t);
            }
            T p = T.Exp(score - lse);
            return (p, p * (gradP - delta) * slope);
        }

        private readonly T Lse(int batch, int head, int row) => T.CreateChecked(*Call.LseOf(batch, head, row));

        private readonly T Delta(int batch, int head, int row)
        {
            byte* gradOutput = GradOutput.Address(batch, row, head), output = Call.OutputRow(batch, head, row);
            T delta = GradLse.IsPresent ? -T.CreateChecked(*(float*)GradLse.Address(batch, head, row)) : T.Zero;
            for (int c = 0; c < Call.Problem.ValueHeadDim; c++)
                delta += Element.Read<T>(gradOutput, c, GradOutput.Type) * Element.Read<T>(output, c, Call.Output.Type);
            return delta;
        }
    }
}
