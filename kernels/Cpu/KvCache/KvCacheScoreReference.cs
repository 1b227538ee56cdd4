using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Scores from attention by their definition (<see cref="KvCacheScoreProblem"/>), slot after slot. <typeparamref name="T"/> is double for
/// the reference and float for the plain computation.
/// </summary>
public sealed unsafe class KvCacheScoreReference<T>(string name, DeviceKinds device) : CpuKernel<KvCacheScoreProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in KvCacheScoreProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        for (int c = 0; c < problem.Cells; c++)
        {
            int length = operands[KvCacheScoreProblem.Lengths].ReadInt32(c), scored = Math.Max(0, length - problem.RecentCount);
            float* scores = (float*)operands[KvCacheScoreProblem.Scores].Address(c);
            for (int j = 0; j < problem.Slots; j++)
            {
                scores[j] = j >= length ? float.NegativeInfinity
                    : j < problem.SinkCount || j >= scored ? float.PositiveInfinity
                    : float.CreateChecked(Pool(problem, operands[KvCacheScoreProblem.ColumnMass], c, j, scored));
            }
        }
    }

    private static T Pool(in KvCacheScoreProblem problem, in RawView mass, int cell, int slot, int scored)
    {
        int reach = problem.PoolSize / 2;
        T result = problem.Pooling == KvPooling.Max ? T.NegativeInfinity : T.Zero;
        for (int j = Math.Max(0, slot - reach); j <= Math.Min(scored - 1, slot + reach); j++)
        {
            T value = Aggregate(problem, mass, cell, j);
            result = problem.Pooling == KvPooling.Max ? T.Max(result, value) : result + value;
        }
        return problem.Pooling == KvPooling.Mean ? result / T.CreateChecked(problem.PoolSize) : result;
    }

    private static T Aggregate(in KvCacheScoreProblem problem, in RawView mass, int cell, int slot)
    {
        T result = problem.Aggregate == KvAggregate.Max ? T.NegativeInfinity : T.Zero;
        for (int g = 0; g < problem.GroupSize; g++)
        {
            T value = T.CreateChecked(((float*)mass.Address(cell * problem.GroupSize + g))[slot]);
            result = problem.Aggregate == KvAggregate.Max ? T.Max(result, value) : result + value;
        }
        T divisor = problem.Aggregate == KvAggregate.Mean ? T.CreateChecked(problem.GroupSize) : T.One;
        return T.CreateChecked(problem.Scale) * (result / divisor);
    }
}
