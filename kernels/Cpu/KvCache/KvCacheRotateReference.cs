using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Turning by its definition (<see cref="KvCacheRotateProblem"/>), pair after pair: <c>(x, y) → (x·cos − y·sin, y·cos + x·sin)</c>, with
/// the sine's sign that of the step. <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class KvCacheRotateReference<T>(string name, DeviceKinds device) : CpuKernel<KvCacheRotateProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in KvCacheRotateProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView target = operands[KvCacheRotateProblem.Target], source = problem.IsCopy ? operands[KvCacheRotateProblem.Source] : target;
        int half = problem.RotaryDim / 2;
        for (int c = 0; c < problem.Cells; c++)
        {
            for (int j = 0; j < operands[KvCacheRotateProblem.Lengths].ReadInt32(c); j++)
            {
                int page = operands[KvCacheRotateProblem.PageTable].ReadInt32(c, j / problem.PageSize), row = j % problem.PageSize;
                int step = operands[KvCacheRotateProblem.Steps].ReadInt32(c, j);
                byte* from = source.Address(page, row), to = target.Address(page, row);
                float* cosines = (float*)operands[KvCacheRotateProblem.Cos].Address(Math.Abs(step));
                float* sines = (float*)operands[KvCacheRotateProblem.Sin].Address(Math.Abs(step));
                for (int i = 0; step != 0 && i < half; i++)
                {
                    int first = problem.IsInterleaved ? 2 * i : i, second = problem.IsInterleaved ? 2 * i + 1 : i + half;
                    T x = Element.Read<T>(from, first, problem.Type), y = Element.Read<T>(from, second, problem.Type);
                    T cos = T.CreateChecked(cosines[i]), sin = T.CreateChecked(step < 0 ? -sines[i] : sines[i]);
                    Element.Write(to, first, problem.Type, x * cos - y * sin);
                    Element.Write(to, second, problem.Type, y * cos + x * sin);
                }
                for (int i = step == 0 ? 0 : problem.RotaryDim; i < problem.HeadDim; i++)
                    Element.Write(to, i, problem.Type, Element.Read<T>(from, i, problem.Type));
            }
        }
    }
}
