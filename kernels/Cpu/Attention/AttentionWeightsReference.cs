using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Attention weights and their sums by key by their definition (<see cref="AttentionWeightsProblem"/>), one row after another.
/// <typeparamref name="T"/> is double for the reference and float for the plain computation. Workspace: the sums of a head.
/// </summary>
public sealed unsafe class AttentionWeightsReference<T>(string name, DeviceKinds device) : CpuKernel<AttentionWeightsProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionWeightsProblem problem, int threads) => checked((long)problem.Forward.KvLength * sizeof(T));

    /// <inheritdoc/>
    public override void Run(in AttentionWeightsProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var call = new AttentionCall(problem.Forward, operands);
        RawView weights = operands[AttentionWeightsProblem.Weights], columnMass = operands[AttentionWeightsProblem.ColumnMass];
        T* sums = (T*)workspace;
        for (int batch = 0; batch < problem.Forward.BatchSize; batch++)
        {
            for (int h = 0; h < problem.Forward.NumHeads; h++)
            {
                new Span<T>(sums, problem.Forward.KvLength).Clear();
                for (int r = 0; weights.IsPresent && r < problem.RowCount; r++)
                    new Span<float>(weights.Address(batch, h, r), problem.Forward.KvLength).Clear();
                int first = problem.Forward.RaggedSequences > 0 ? 0 : batch, end = problem.Forward.RaggedSequences > 0 ? problem.Forward.RaggedSequences : batch + 1;
                for (int s = first; s < end; s++)
                {
                    AttentionSequence sequence = call.GetSequence(s, h / problem.Forward.GroupSize);
                    sequence = sequence with { QueryStart = sequence.QueryStart - problem.FirstRow };
                    for (int i = problem.FirstRow; i < Math.Min(sequence.QueryLength, problem.FirstRow + problem.RowCount); i++)
                        RunRow(call, sequence, h, i, weights, sums + sequence.KeyStart);
                }
                for (int j = 0; columnMass.IsPresent && j < problem.Forward.KvLength; j++)
                {
                    float* target = (float*)columnMass.Address(batch, h) + j;
                    *target = float.CreateChecked(problem.AddsMass ? T.CreateChecked(*target) + sums[j] : sums[j]);
                }
            }
        }
    }

    private static void RunRow(in AttentionCall call, in AttentionSequence sequence, int head, int row, in RawView weights, T* sums)
    {
        int kvHead = head / call.Problem.GroupSize;
        KeyRange range = call.GetRange(sequence, head, row);
        byte* q = call.QueryRow(sequence, head, row);
        long storedRow = (long)sequence.QueryStart + row;
        T lse = T.CreateChecked(*(float*)call.Lse.Address(sequence.Batch, head, storedRow));
        for (int j = 0; j < range.End && !T.IsNegativeInfinity(lse); j++)
        {
            if (!range.Contains(j) || !call.IsVisible(sequence, head, row, j))
                continue;
            byte* k = call.KeyRow(sequence, kvHead, j);
            T dot = T.Zero;
            for (int c = 0; c < call.Problem.HeadDim; c++)
                dot += Element.Read<T>(q, c, call.Query.Type) * Element.Read<T>(k, c, call.Key.Type);
            dot *= T.CreateChecked(call.KeyScale(sequence, kvHead, j));
            T weight = T.Exp(call.Transform(sequence, head, row, j, dot * T.CreateChecked(call.Problem.Scale)) - lse);
            sums[j] += weight;
            if (weights.IsPresent)
                *((float*)weights.Address(sequence.Batch, head, storedRow) + sequence.KeyStart + j) = float.CreateChecked(weight);
        }
    }
}
