using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// The nearest centre by its definition (<see cref="KvCacheNearestProblem"/>): every candidate with every centre.
/// <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class KvCacheNearestReference<T>(string name, DeviceKinds device) : CpuKernel<KvCacheNearestProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in KvCacheNearestProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        for (int c = 0; c < problem.Cells; c++)
        {
            int candidates = operands[KvCacheNearestProblem.CandidateCounts].ReadInt32(c), centres = operands[KvCacheNearestProblem.CentreCounts].ReadInt32(c);
            for (int i = 0; i < problem.Slots; i++)
            {
                int nearest = -1;
                T best = T.Zero;
                for (int j = 0; i < candidates && j < centres; j++)
                {
                    int candidate = operands[KvCacheNearestProblem.Candidates].ReadInt32(c, i), centre = operands[KvCacheNearestProblem.Centres].ReadInt32(c, j);
                    T similarity = Cosine(problem, operands, KvCacheNearestProblem.Key, problem.HeadDim, c, candidate, centre)
                        * Cosine(problem, operands, KvCacheNearestProblem.Value, problem.ValueHeadDim, c, candidate, centre);
                    if (nearest < 0 || similarity > best || (similarity == best && centre > nearest))
                        (best, nearest) = (similarity, centre);
                }
                *(int*)operands[KvCacheNearestProblem.Nearest].Address(c, i) = best >= T.CreateChecked(problem.Threshold) ? nearest : -1;
                *(float*)operands[KvCacheNearestProblem.Similarity].Address(c, i) = float.CreateChecked(best);
            }
        }
    }

    private static T Cosine(in KvCacheNearestProblem problem, ReadOnlySpan<RawView> operands, int pool, int size, int cell, int slot, int other)
    {
        byte* a = Row(problem, operands, pool, cell, slot), b = Row(problem, operands, pool, cell, other);
        T dot = T.Zero, aa = T.Zero, bb = T.Zero;
        for (int i = 0; i < size; i++)
        {
            T x = Element.Read<T>(a, i, problem.Type), y = Element.Read<T>(b, i, problem.Type);
            (dot, aa, bb) = (dot + x * y, aa + x * x, bb + y * y);
        }
        return aa > T.Zero && bb > T.Zero ? T.Max(T.Zero, dot / (T.Sqrt(aa) * T.Sqrt(bb))) : T.Zero;
    }

    private static byte* Row(in KvCacheNearestProblem problem, ReadOnlySpan<RawView> operands, int pool, int cell, int slot) =>
        operands[pool].Address(operands[KvCacheNearestProblem.PageTable].ReadInt32(cell, slot / problem.PageSize), slot % problem.PageSize);
}
