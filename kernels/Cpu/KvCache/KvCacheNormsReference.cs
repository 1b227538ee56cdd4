using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Norms of stored rows by their definition (<see cref="KvCacheNormsProblem"/>). <typeparamref name="T"/> is double for the reference and
/// float for the plain computation.
/// </summary>
public sealed unsafe class KvCacheNormsReference<T>(string name, DeviceKinds device) : CpuKernel<KvCacheNormsProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in KvCacheNormsProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        Run(problem, operands, operands[KvCacheNormsProblem.Key], operands[KvCacheNormsProblem.KeyScale],
            operands[KvCacheNormsProblem.KeyNorms]);
        Run(problem, operands, operands[KvCacheNormsProblem.Value], operands[KvCacheNormsProblem.ValueScale],
            operands[KvCacheNormsProblem.ValueNorms]);
    }

    private static void Run(in KvCacheNormsProblem problem, ReadOnlySpan<RawView> operands, in RawView rows, in RawView scales,
        in RawView norms)
    {
        for (int c = 0; norms.IsPresent && c < problem.Cells; c++)
        {
            for (int j = 0; j < problem.Slots; j++)
            {
                T norm = T.Zero;
                if (j < operands[KvCacheNormsProblem.Lengths].ReadInt32(c))
                {
                    int page = operands[KvCacheNormsProblem.PageTable].ReadInt32(c, j / problem.PageSize), row = j % problem.PageSize;
                    norm = Norm(rows.Address(page, row), rows.Type, rows.Layout[3]);
                    if (scales.IsPresent)
                        norm *= T.CreateChecked(*(float*)scales.Address(page, 0, row));
                }
                ((float*)norms.Address(c))[j] = float.CreateChecked(norm);
            }
        }
    }

    private static T Norm(byte* row, DataType type, long size)
    {
        T sum = T.Zero;
        for (long i = 0; i < size; i++)
        {
            T x = Element.Read<T>(row, i, type);
            sum += x * x;
        }
        return T.Sqrt(sum);
    }
}
