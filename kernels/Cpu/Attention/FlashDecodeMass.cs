using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// <see cref="FlashDecode{TSimd,TVector}"/> that keeps the weights of values: once the log-sum-exp of a row is known, they are scaled and
/// summed by key (<see cref="AttentionDecodeMassProblem"/>), a key's in the order of the rows, by the thread that has them in its cache.
/// Keys are not read again: a weight costs 16 bytes of traffic between caches beside its key's and value's elements. Workspace: that of
/// decoding, and the weights.
/// </summary>
public sealed unsafe class FlashDecodeMass<TSimd, TVector>()
    : CpuKernel<AttentionDecodeMassProblem>($"attention-decode-mass/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionDecodeMassProblem problem, int threads) =>
        FlashDecode<TSimd, TVector>.GetMassWorkspaceBytes(problem.Forward, threads);

    /// <inheritdoc/>
    public override void Run(in AttentionDecodeMassProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers) =>
        FlashDecode<TSimd, TVector>.Run(
            problem.Forward, operands, operands[AttentionDecodeMassProblem.ColumnMass], problem.AddsMass, workspace, workers);
}
