using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Selective attention by its definition (<see cref="AttentionDecodeSelectiveProblem"/>): all scores, a sort of each head's slots, a
/// weighted sum over the union. <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class AttentionDecodeSelectiveReference<T>(string name, DeviceKinds device)
    : CpuKernel<AttentionDecodeSelectiveProblem>(name, device) where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionDecodeSelectiveProblem problem, int threads) =>
        (long)problem.GroupSize * problem.Slots * sizeof(T) + (long)problem.Slots * (sizeof(int) + sizeof(bool));

    /// <inheritdoc/>
    public override void Run(
        in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        T* scores = (T*)workspace; // [groupSize, slots]
        int* order = (int*)(scores + (long)problem.GroupSize * problem.Slots);
        bool* isKept = (bool*)(order + problem.Slots);
        for (int c = 0; c < problem.Cells; c++)
        {
            int length = operands[AttentionDecodeSelectiveProblem.Lengths].ReadInt32(c);
            new Span<bool>(isKept, length).Clear();
            for (int g = 0; g < problem.GroupSize; g++)
            {
                T* row = scores + (long)g * problem.Slots;
                for (int j = 0; j < length; j++)
                {
                    row[j] = Score(problem, operands, c, c * problem.GroupSize + g, j);
                    order[j] = j;
                }
                new Span<int>(order, length).Sort(new BestFirst(row));
                for (int i = 0; i < Math.Min(length, problem.KeepCount); i++)
                    isKept[order[i]] = true;
            }
            for (int g = 0; g < problem.GroupSize; g++)
                Write(problem, operands, c, c * problem.GroupSize + g, length, scores + (long)g * problem.Slots, isKept);
        }
    }

    private static T Score(in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<RawView> operands, int cell, int head, int slot)
    {
        RawView query = operands[AttentionDecodeSelectiveProblem.Query], keys = operands[AttentionDecodeSelectiveProblem.Key];
        (int page, int row) = Place(problem, operands, cell, slot);
        T sum = T.Zero;
        for (int i = 0; i < problem.HeadDim; i++)
            sum += Element.Read<T>(query.Address(head), i, query.Type) * Element.Read<T>(keys.Address(page, row), i, keys.Type);
        return sum * T.CreateChecked(problem.Scale) * ScaleOf(operands[AttentionDecodeSelectiveProblem.KeyScale], page, row);
    }

    private static void Write(
        in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<RawView> operands, int cell, int head, int length, T* scores, bool* isKept)
    {
        T max = T.NegativeInfinity, total = T.Zero, keptTotal = T.Zero;
        for (int j = 0; j < length; j++)
            max = T.Max(max, scores[j]);
        for (int j = 0; j < length; j++)
        {
            scores[j] = T.Exp(scores[j] - max);
            total += scores[j];
            keptTotal += isKept[j] ? scores[j] : T.Zero;
        }
        RawView values = operands[AttentionDecodeSelectiveProblem.Value], lse = operands[AttentionDecodeSelectiveProblem.Lse];
        if (lse.IsPresent)
            *(float*)lse.Address(head) = length == 0 ? float.NegativeInfinity : float.CreateChecked(max + T.Log(total));
        for (int i = 0; i < problem.ValueHeadDim; i++)
        {
            T sum = T.Zero;
            for (int j = 0; j < length; j++)
            {
                (int page, int row) = isKept[j] ? Place(problem, operands, cell, j) : default;
                if (isKept[j])
                {
                    sum += scores[j] * Element.Read<T>(values.Address(page, row), i, values.Type)
                        * ScaleOf(operands[AttentionDecodeSelectiveProblem.ValueScale], page, row);
                }
            }
            ((float*)operands[AttentionDecodeSelectiveProblem.Output].Address(head))[i] =
                length == 0 ? 0f : float.CreateChecked(sum / (problem.IsRenormalised ? keptTotal : total));
        }
    }

    private static (int Page, int Row) Place(
        in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<RawView> operands, int cell, int slot) =>
        (operands[AttentionDecodeSelectiveProblem.PageTable].ReadInt32(cell, slot / problem.PageSize), slot % problem.PageSize);

    private static T ScaleOf(in RawView scales, int page, int row) =>
        scales.IsPresent ? T.CreateChecked(*(float*)scales.Address(page, 0, row)) : T.One;

    private readonly struct BestFirst(T* scores) : IComparer<int>
    {
        public int Compare(int x, int y) => scores[x] != scores[y] ? scores[y].CompareTo(scores[x]) : y.CompareTo(x);
    }
}
