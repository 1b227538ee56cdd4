using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// The gradients of attention by their definition (<see cref="AttentionBackwardProblem"/>), one gradient after another and
/// each element as one sum: the scores are computed anew for every sum. A pair of a row and a key counts unless a window or a
/// mask hides the key, its score is −∞, or the row's lse is (then it saw no key). <typeparamref name="T"/> is double for the
/// reference and float for the plain computation that bounds a kernel's error. Cost: 2 · rows · keys · (6 · headDim +
/// 4 · valueHeadDim) FLOPs, no reuse. Workspace: the sums of one row, and those of the bias.
/// </summary>
public sealed unsafe class AttentionBackwardReference<T>(string name, DeviceKinds device) : CpuKernel<AttentionBackwardProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    private const int MaxHeadDim = AttentionProblem.MaxHeadDim;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionBackwardProblem problem, int threads) =>
        checked((2L * MaxHeadDim + problem.GetOperand(AttentionBackwardProblem.GradBias).Shape.Count) * sizeof(T));

    /// <inheritdoc/>
    public override void Run(in AttentionBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var pass = new Pass
        {
            Call = new AttentionCall(problem.Forward, operands),
            GradOutput = operands[AttentionBackwardProblem.GradOutput],
            GradLse = operands[AttentionBackwardProblem.GradLse],
            GradQuery = operands[AttentionBackwardProblem.GradQuery],
            GradKey = operands[AttentionBackwardProblem.GradKey],
            GradValue = operands[AttentionBackwardProblem.GradValue],
            GradBias = operands[AttentionBackwardProblem.GradBias],
            Sums = (T*)workspace,
            BiasSums = (T*)workspace + 2 * MaxHeadDim,
        };
        RawView gradSinks = operands[AttentionBackwardProblem.GradSinkLogits], gradSlopes = operands[AttentionBackwardProblem.GradAlibiSlopes];
        if (pass.GradBias.IsPresent)
            new Span<T>(pass.BiasSums, checked((int)pass.GradBias.Layout.Count)).Clear();
        for (int h = 0; h < problem.Forward.NumHeads; h++)
        {
            T gradSink = T.Zero;
            for (int s = 0; s < problem.Forward.NumSequences; s++)
            {
                AttentionSequence sequence = pass.Call.GetSequence(s, h / problem.Forward.GroupSize);
                (T slope, T sink) = pass.AddRows(sequence, h);
                gradSink += sink;
                if (gradSlopes.IsPresent)
                    Element.Write(gradSlopes.Address(s, h), 0, gradSlopes.Type, slope);
            }
            if (gradSinks.IsPresent)
                Element.Write(gradSinks.Address(h), 0, gradSinks.Type, gradSink);
        }
        for (int s = 0; s < problem.Forward.NumSequences; s++)
        {
            for (int kvHead = 0; kvHead < problem.Forward.NumKvHeads; kvHead++)
            {
                AttentionSequence sequence = pass.Call.GetSequence(s, kvHead);
                for (int j = 0; j < sequence.KvLength; j++)
                    pass.WriteKeyAndValue(sequence, kvHead, j);
            }
        }
        if (pass.GradBias.IsPresent)
            pass.WriteBias();
    }

    // What one pair of a row and a key contributes.
    private struct Pair
    {
        public T P, GradScore, GradProduct; // p, dA, and dX: what flows on to scale · q · k
    }

    private struct Pass
    {
        public AttentionCall Call;
        public RawView GradOutput, GradLse, GradQuery, GradKey, GradValue, GradBias;
        public T* Sums, BiasSums;

        // The rows of one head: gradQuery and the sums over rows, of which it returns those of the slope and of the sink.
        public readonly (T Slope, T Sink) AddRows(in AttentionSequence sequence, int head)
        {
            AttentionProblem problem = Call.Problem;
            T slope = T.Zero, sink = T.Zero, sinkLogit = T.CreateChecked(Call.SinkLogit(head));
            int kvHead = head / problem.GroupSize;
            for (int i = 0; i < sequence.QueryLength; i++)
            {
                T delta = Delta(sequence, head, i), lse = Lse(sequence, head, i);
                new Span<T>(Sums, problem.HeadDim).Clear();
                for (int j = 0; j < sequence.KvLength; j++)
                {
                    if (!TryGetPair(sequence, head, i, j, lse, delta, out Pair pair))
                        continue;
                    byte* k = Call.KeyRow(sequence, kvHead, j);
                    for (int c = 0; c < problem.HeadDim; c++)
                        Sums[c] += pair.GradProduct * Element.Read<T>(k, c, Call.Key.Type);
                    slope -= pair.GradScore * T.Abs(T.CreateChecked(Call.Position(sequence, i) - j));
                    if (GradBias.IsPresent)
                        BiasSums[BiasIndex(sequence.Batch, head, i, j)] += pair.GradScore;
                }
                if (!T.IsNegativeInfinity(lse) && !T.IsNegativeInfinity(sinkLogit))
                    sink -= T.Exp(sinkLogit - lse) * delta;
                if (!GradQuery.IsPresent)
                    continue;
                byte* gradQuery = GradQuery.Address(sequence.Batch, (long)sequence.QueryStart + i, head);
                for (int c = 0; c < problem.HeadDim; c++)
                    Element.Write(gradQuery, c, GradQuery.Type, T.CreateChecked(problem.Scale) * Sums[c]);
            }
            return (slope, sink);
        }

        // gradKey and gradValue of one key: sums over the rows of all heads of its group.
        public readonly void WriteKeyAndValue(in AttentionSequence sequence, int kvHead, int key)
        {
            AttentionProblem problem = Call.Problem;
            T* keySums = Sums, valueSums = Sums + MaxHeadDim;
            new Span<T>(Sums, 2 * MaxHeadDim).Clear();
            for (int head = kvHead * problem.GroupSize; head < (kvHead + 1) * problem.GroupSize; head++)
            {
                for (int i = 0; i < sequence.QueryLength; i++)
                {
                    if (!TryGetPair(sequence, head, i, key, Lse(sequence, head, i), Delta(sequence, head, i), out Pair pair))
                        continue;
                    byte* q = Call.QueryRow(sequence, head, i);
                    for (int c = 0; c < problem.HeadDim; c++)
                        keySums[c] += pair.GradProduct * Element.Read<T>(q, c, Call.Query.Type);
                    byte* gradOutput = GradOutputRow(sequence, head, i);
                    for (int c = 0; c < problem.ValueHeadDim; c++)
                        valueSums[c] += pair.P * Element.Read<T>(gradOutput, c, GradOutput.Type);
                }
            }
            if (GradKey.IsPresent)
            {
                byte* gradKey = GradKey.Address(sequence.Batch, (long)sequence.KeyStart + key, kvHead);
                for (int c = 0; c < problem.HeadDim; c++)
                    Element.Write(gradKey, c, GradKey.Type, T.CreateChecked(problem.Scale) * keySums[c]);
            }
            if (GradValue.IsPresent)
            {
                byte* gradValue = GradValue.Address(sequence.Batch, (long)sequence.KeyStart + key, kvHead);
                for (int c = 0; c < problem.ValueHeadDim; c++)
                    Element.Write(gradValue, c, GradValue.Type, valueSums[c]);
            }
        }

        public readonly void WriteBias()
        {
            TensorLayout shape = GradBias.Layout;
            long index = 0;
            for (long b = 0; b < shape[0]; b++)
            {
                for (long h = 0; h < shape[1]; h++)
                {
                    for (long i = 0; i < shape[2]; i++)
                    {
                        byte* row = GradBias.Address(b, h, i);
                        for (long j = 0; j < shape[3]; j++)
                            Element.Write(row, j, GradBias.Type, BiasSums[index++]);
                    }
                }
            }
        }

        private readonly bool TryGetPair(in AttentionSequence sequence, int head, int row, int key, T lse, T delta, out Pair pair)
        {
            pair = default;
            if (T.IsNegativeInfinity(lse) || !Call.GetRange(sequence, head, row).Contains(key) || !Call.IsVisible(sequence, head, row, key))
                return false;
            AttentionProblem problem = Call.Problem;
            int kvHead = head / problem.GroupSize;
            byte* q = Call.QueryRow(sequence, head, row), k = Call.KeyRow(sequence, kvHead, key);
            T x = T.Zero, gradP = T.Zero;
            for (int c = 0; c < problem.HeadDim; c++)
                x += Element.Read<T>(q, c, Call.Query.Type) * Element.Read<T>(k, c, Call.Key.Type);
            x *= T.CreateChecked(problem.Scale);
            T score = Call.Transform(sequence, head, row, key, x);
            if (T.IsNegativeInfinity(score))
                return false;
            byte* gradOutput = GradOutputRow(sequence, head, row), v = Call.ValueRow(sequence, kvHead, key);
            for (int c = 0; c < problem.ValueHeadDim; c++)
                gradP += Element.Read<T>(gradOutput, c, GradOutput.Type) * Element.Read<T>(v, c, Call.Value.Type);
            pair.P = T.Exp(score - lse);
            pair.GradScore = pair.GradProduct = pair.P * (gradP - delta);
            if (problem.LogitSoftCap > 0)
            {
                T t = T.Tanh(x / T.CreateChecked(problem.LogitSoftCap));
                pair.GradProduct *= T.One - t * t;
            }
            return true;
        }

        private readonly T Lse(in AttentionSequence sequence, int head, int row) =>
            Element.Read<T>(Call.Lse.Address(sequence.Batch, head, (long)sequence.QueryStart + row), 0, DataType.Float32);

        private readonly T Delta(in AttentionSequence sequence, int head, int row)
        {
            byte* output = Call.OutputRow(sequence, head, row), gradOutput = GradOutputRow(sequence, head, row);
            T delta = T.Zero;
            for (int c = 0; c < Call.Problem.ValueHeadDim; c++)
                delta += Element.Read<T>(gradOutput, c, GradOutput.Type) * Element.Read<T>(output, c, Call.Output.Type);
            return GradLse.IsPresent
                ? delta - Element.Read<T>(GradLse.Address(sequence.Batch, head, (long)sequence.QueryStart + row), 0, DataType.Float32)
                : delta;
        }

        private readonly byte* GradOutputRow(in AttentionSequence sequence, int head, int row) =>
            GradOutput.Address(sequence.Batch, (long)sequence.QueryStart + row, head);

        private readonly long BiasIndex(int batch, int head, int row, int key)
        {
            TensorLayout shape = GradBias.Layout;
            return (((shape[0] == 1 ? 0 : batch) * shape[1] + (shape[1] == 1 ? 0 : head)) * shape[2] + (shape[2] == 1 ? 0 : row)) * shape[3]
                + (shape[3] == 1 ? 0 : key);
        }
    }
}
