using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// The residual connection, one sum after another. <typeparamref name="T"/> is double for the reference and float for the
/// plain computation; both round to the same f32, since a sum of two f32 is rounded once either way.
/// </summary>
public sealed unsafe class ResidualAddReference<T>(string name, DeviceKinds device) : CpuKernel<ResidualAddProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in ResidualAddProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView residual = operands[ResidualAddProblem.Residual], input = operands[ResidualAddProblem.Input];
        for (int m = 0; m < problem.Rows; m++)
        {
            byte* r = residual.Address(m), x = input.Address(m);
            for (int i = 0; i < problem.Size; i++)
                Element.Write(r, i, residual.Type, Element.Read<T>(r, i, residual.Type) + Element.Read<T>(x, i, input.Type));
        }
    }
}
