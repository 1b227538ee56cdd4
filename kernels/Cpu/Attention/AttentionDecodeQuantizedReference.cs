using System.Numerics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Attention over codes by its definition (<see cref="AttentionDecodeQuantizedProblem"/>): each element is read as what it stands for.
/// Workspace: the scores of a row and its sums. <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class AttentionDecodeQuantizedReference<T>(string name, DeviceKinds device)
    : CpuKernel<AttentionDecodeQuantizedProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionDecodeQuantizedProblem problem, int threads) =>
        ((long)problem.KvLength + AttentionProblem.MaxHeadDim) * sizeof(T);

    /// <inheritdoc/>
    public override void Run(
        in AttentionDecodeQuantizedProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        for (int b = 0; b < problem.BatchSize; b++)
        {
            for (int h = 0; h < problem.NumHeads; h++)
            {
                for (int i = 0; i < problem.QueryLength; i++)
                    Attend(problem, operands, b, h, i, (T*)workspace);
            }
        }
    }

    private static void Attend(
        in AttentionDecodeQuantizedProblem problem, ReadOnlySpan<RawView> operands, int batch, int head, int row, T* sums)
    {
        T* scores = sums + AttentionProblem.MaxHeadDim;
        int kvHead = head / problem.GroupSize, length = operands[AttentionDecodeQuantizedProblem.KvLengths].ReadInt32(batch, kvHead);
        RawView output = operands[AttentionDecodeQuantizedProblem.Output];
        byte* query = operands[AttentionDecodeQuantizedProblem.Query].Address(batch, row, head);
        T max = T.NegativeInfinity, total = T.Zero;
        new Span<T>(sums, problem.ValueHeadDim).Clear();
        for (int j = 0; j < length; j++)
        {
            int page = operands[AttentionDecodeQuantizedProblem.PageTable].ReadInt32(batch, kvHead, j / problem.PageSize);
            byte* codes = operands[AttentionDecodeQuantizedProblem.KeyCodes].Address(page, j % problem.PageSize);
            T dot = T.Zero;
            for (int c = 0; c < problem.HeadDim; c++)
            {
                T key = T.CreateChecked(Codes.Read(codes, c, problem.Bits))
                    * Number(operands[AttentionDecodeQuantizedProblem.KeyScale].Address(page, c))
                    + Number(operands[AttentionDecodeQuantizedProblem.KeyMinimum].Address(page, c));
                dot += Element.Read<T>(query, c, problem.Type) * key;
            }
            scores[j] = dot * T.CreateChecked(problem.Scale);
            max = T.Max(max, scores[j]);
        }
        for (int j = 0; j < length; j++)
        {
            int page = operands[AttentionDecodeQuantizedProblem.PageTable].ReadInt32(batch, kvHead, j / problem.PageSize);
            int slot = j % problem.PageSize;
            byte* codes = operands[AttentionDecodeQuantizedProblem.ValueCodes].Address(page, slot);
            T weight = T.Exp(scores[j] - max);
            total += weight;
            for (int c = 0; c < problem.ValueHeadDim; c++)
            {
                int group = c / CodePages.GroupSize;
                sums[c] += weight * (T.CreateChecked(Codes.Read(codes, c, problem.Bits))
                    * Number(operands[AttentionDecodeQuantizedProblem.ValueScale].Address(page, slot, group))
                    + Number(operands[AttentionDecodeQuantizedProblem.ValueMinimum].Address(page, slot, group)));
            }
        }
        for (int c = 0; c < problem.ValueHeadDim; c++)
            Element.Write(output.Address(batch, row, head), c, output.Type, length == 0 ? T.Zero : sums[c] / total);
        *(float*)operands[AttentionDecodeQuantizedProblem.Lse].Address(batch, head, row) =
            float.CreateChecked(length == 0 ? T.NegativeInfinity : max + T.Log(total));
    }

    private static T Number(byte* address) => T.CreateChecked(*(Half*)address);
}
