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
        RawView input = Rows(operands[LinearProblem.Input], problem.IsInputTransposed);
        RawView weight = Rows(operands[LinearProblem.Weight], problem.IsWeightTransposed), output = operands[LinearProblem.Output];
        long xStep = input.Layout.Stride(1), wStep = weight.Layout.Stride(1);
        for (int m = 0; m < problem.Rows; m++)
        {
            for (int n = 0; n < problem.OutputSize; n++)
            {
                byte* x = input.Address(m), w = weight.Address(n);
                T sum = T.Zero;
                for (int k = 0; k < problem.InputSize; k++)
                    sum += Element.Read<T>(x, k * xStep, input.Type) * Element.Read<T>(w, k * wStep, weight.Type);
                Element.Write(output.Address(m), n, output.Type, sum);
            }
        }
    }

    // A factor as [rows, inputSize], however it lies.
    private static RawView Rows(in RawView factor, bool isTransposed) =>
        isTransposed ? new(factor.Data, factor.Type, factor.Layout.Transpose(0, 1)) : factor;
}
