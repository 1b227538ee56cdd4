using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// The SwiGLU gate by its definition, <c>y = g / (1 + exp(−g)) · u</c>, element after element (Shazeer 2020,
/// arXiv:2002.05202). <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class SwiGluReference<T>(string name, DeviceKinds device) : CpuKernel<SwiGluProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in SwiGluProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView gate = operands[SwiGluProblem.Gate], up = operands[SwiGluProblem.Up], output = operands[SwiGluProblem.Output];
        for (int m = 0; m < problem.Rows; m++)
        {
            for (int i = 0; i < problem.Size; i++)
            {
                T g = Element.Read<T>(gate.Address(m), i, gate.Type), u = Element.Read<T>(up.Address(m), i, up.Type);
                Element.Write(output.Address(m), i, output.Type, g / (T.One + T.Exp(-g)) * u);
            }
        }
    }
}
