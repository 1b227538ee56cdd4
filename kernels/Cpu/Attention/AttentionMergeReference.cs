using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// The merge of two partial states by its definition (<see cref="AttentionMergeProblem"/>), one row after another.
/// <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class AttentionMergeReference<T>(string name, DeviceKinds device) : CpuKernel<AttentionMergeProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in AttentionMergeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView output = operands[AttentionMergeProblem.Output], other = operands[AttentionMergeProblem.OtherOutput];
        for (int b = 0; b < problem.BatchSize; b++)
        {
            for (int i = 0; i < problem.QueryLength; i++)
            {
                for (int h = 0; h < problem.NumHeads; h++)
                {
                    float* lse = (float*)operands[AttentionMergeProblem.Lse].Address(b, h, i);
                    T a = T.CreateChecked(*lse), c = T.CreateChecked(*(float*)operands[AttentionMergeProblem.OtherLse].Address(b, h, i));
                    T max = T.Max(a, c), shift = T.IsNegativeInfinity(max) ? T.Zero : max; // −∞ − (−∞) would be NaN
                    T weight = T.Exp(a - shift), otherWeight = T.Exp(c - shift), total = weight + otherWeight;
                    byte* row = output.Address(b, i, h), otherRow = other.Address(b, i, h);
                    for (int e = 0; e < problem.ValueHeadDim; e++)
                    {
                        T sum = T.Zero;
                        if (weight != T.Zero)
                            sum += weight * Element.Read<T>(row, e, output.Type);
                        if (otherWeight != T.Zero)
                            sum += otherWeight * Element.Read<T>(otherRow, e, other.Type);
                        Element.Write(row, e, output.Type, total == T.Zero ? T.Zero : sum / total);
                    }
                    *lse = float.CreateChecked(total == T.Zero ? T.NegativeInfinity : shift + T.Log(total));
                }
            }
        }
    }
}
