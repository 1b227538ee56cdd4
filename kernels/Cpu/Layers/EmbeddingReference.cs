using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// The embedding look-up, element after element; an id outside the table reads the nearest row. Widening is exact, so
/// <typeparamref name="T"/> makes no difference.
/// </summary>
public sealed unsafe class EmbeddingReference<T>(string name, DeviceKinds device) : CpuKernel<EmbeddingProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in EmbeddingProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView tokens = operands[EmbeddingProblem.TokenIds], table = operands[EmbeddingProblem.Table], output = operands[EmbeddingProblem.Output];
        for (int t = 0; t < problem.Tokens; t++)
        {
            int id = Math.Clamp(*(int*)tokens.Address(t), 0, problem.VocabSize - 1);
            byte* source = table.Address(id), target = output.Address(t);
            for (int i = 0; i < problem.Size; i++)
                Element.Write(target, i, output.Type, Element.Read<T>(source, i, table.Type));
        }
    }
}
