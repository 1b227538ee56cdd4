using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// Merges partial states (<see cref="CrossEntropyMergeProblem"/>), a few operations a position. <typeparamref name="T"/> is double
/// for the reference; in float it is the plain computation and the kernel, since there is nothing to make faster.
/// </summary>
public sealed unsafe class CrossEntropyMerge<T>(string name, DeviceKinds device) : CpuKernel<CrossEntropyMergeProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in CrossEntropyMergeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView states = operands[CrossEntropyMergeProblem.States], classes = operands[CrossEntropyMergeProblem.BestClasses];
        RawView targets = operands[CrossEntropyProblem.Targets];
        var results = new CrossEntropyResults<T>(problem.Loss, operands);
        for (int k = 0; k < problem.Loss.Positions; k++)
        {
            if (targets.ReadInt32(problem.Loss.TargetRow(k)) == problem.Loss.IgnoreIndex)
            {
                results.Skip(k);
                continue;
            }
            var merged = CrossEntropyState<T>.Empty;
            for (int part = 0; part < problem.Parts; part++)
            {
                float* state = (float*)states.Address(part, k);
                merged.Merge(new CrossEntropyState<T>
                {
                    Max = T.CreateChecked(state[0]),
                    Sum = T.CreateChecked(state[1]),
                    Label = T.CreateChecked(state[2]),
                    Weighted = T.CreateChecked(state[3]),
                    Product = T.CreateChecked(state[4]),
                    Best = classes.IsPresent ? classes.ReadInt32(part, k) : -1,
                });
            }
            results.Add(k, merged);
        }
        results.Finish();
    }
}
