using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Linear;

/// <summary>
/// A linear layer by its definition, <c>y_mn = Σ_k x_mk · w_nk</c>, one sum after another. <typeparamref name="T"/> is double for
/// the reference and float for the plain computation.
/// </summary>
public sealed unsafe class LinearReference<T>(string name, DeviceKinds device) : CpuKernel<LinearProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in LinearProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView input = operands[LinearProblem.Input], weight = operands[LinearProblem.Weight], output = operands[LinearProblem.Output];
        for (int m = 0; m < problem.Rows; m++)
        {
            for (int n = 0; n < problem.OutputSize; n++)
            {
                byte* x = input.Address(m), w = weight.Address(n);
                T sum = T.Zero;
                for (int k = 0; k < problem.InputSize; k++)
                    sum += Element.Read<T>(x, k, input.Type) * Element.Read<T>(w, k, weight.Type);
                Element.Write(output.Address(m), n, output.Type, sum);
            }
        }
    }
}
