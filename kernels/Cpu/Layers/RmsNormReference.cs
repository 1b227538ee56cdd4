using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// Root-mean-square normalisation by its definition, <c>y_i = w_i · x_i / √(Σ_j x_j² / n + ε)</c>, row after row (Zhang and
/// Sennrich 2019, arXiv:1910.07467). <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class RmsNormReference<T>(string name, DeviceKinds device) : CpuKernel<RmsNormProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in RmsNormProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView input = operands[RmsNormProblem.Input], weight = operands[RmsNormProblem.Weight], output = operands[RmsNormProblem.Output];
        byte* w = weight.Address(0);
        for (int m = 0; m < problem.Rows; m++)
        {
            byte* x = input.Address(m), y = output.Address(m);
            T sum = T.Zero;
            for (int i = 0; i < problem.Size; i++)
                sum += Element.Read<T>(x, i, input.Type) * Element.Read<T>(x, i, input.Type);
            T scale = T.One / T.Sqrt(sum / T.CreateChecked(problem.Size) + T.CreateChecked(problem.Epsilon));
            for (int i = 0; i < problem.Size; i++)
                Element.Write(y, i, output.Type, Element.Read<T>(w, i, weight.Type) * (Element.Read<T>(x, i, input.Type) * scale));
        }
    }
}
