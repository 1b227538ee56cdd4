using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// Rotary position embedding by its definition, pair after pair (Su et al. 2021, arXiv:2104.09864):
/// <c>(x, y) → (x·cos − y·sin, y·cos + x·sin)</c> with the row of the tables at position <c>start + token</c>.
/// <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class RotaryReference<T>(string name, DeviceKinds device) : CpuKernel<RotaryProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in RotaryProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView values = operands[RotaryProblem.Values], cosTable = operands[RotaryProblem.Cos], sinTable = operands[RotaryProblem.Sin];
        int half = problem.RotaryDim / 2;
        for (int t = 0; t < problem.Tokens; t++)
        {
            byte* cosines = cosTable.Address((long)problem.Start + t), sines = sinTable.Address((long)problem.Start + t);
            for (int h = 0; h < problem.Heads; h++)
            {
                byte* head = values.Address(t, h);
                for (int i = 0; i < half; i++)
                {
                    int first = problem.IsInterleaved ? 2 * i : i, second = problem.IsInterleaved ? 2 * i + 1 : i + half;
                    T x = Element.Read<T>(head, first, values.Type), y = Element.Read<T>(head, second, values.Type);
                    T cos = Element.Read<T>(cosines, i, cosTable.Type), sin = Element.Read<T>(sines, i, sinTable.Type);
                    Element.Write(head, first, values.Type, x * cos - y * sin);
                    Element.Write(head, second, values.Type, y * cos + x * sin);
                }
            }
        }
    }
}
