using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Attention, and then the weights of its rows (<see cref="AttentionDecodeMassProblem"/>), by their definitions. Workspace: the larger
/// of the two.
/// </summary>
public sealed unsafe class AttentionDecodeMassReference<T>(string name, DeviceKinds device)
    : CpuKernel<AttentionDecodeMassProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    private readonly AttentionReference<T> _attention = new(name, device);
    private readonly AttentionWeightsReference<T> _weights = new(name, device);

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionDecodeMassProblem problem, int threads) => Math.Max(
        _attention.GetWorkspaceBytes(problem.Forward, threads), _weights.GetWorkspaceBytes(WeightsOf(problem), threads));

    /// <inheritdoc/>
    public override void Run(in AttentionDecodeMassProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        _attention.Run(problem.Forward, operands, workspace, workers);
        RawView columnMass = operands[AttentionDecodeMassProblem.ColumnMass];
        _weights.Run(WeightsOf(problem), [.. operands[..AttentionProblem.Count], default, columnMass], workspace, workers);
    }

    private static AttentionWeightsProblem WeightsOf(in AttentionDecodeMassProblem problem) =>
        new(problem.Forward, 0, problem.Forward.QueryLength, problem.AddsMass);
}
