using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// <see cref="FlashDecode{TSimd,TVector}"/> that keeps its scores: once the log-sum-exp of a row is known, its scores become weights and
/// are summed by key (<see cref="AttentionDecodeMassProblem"/>), a key's in the order of the rows. Keys are not read again: a score costs
/// 8 bytes of memory in the caches and a power beside its key's and value's elements. Workspace: that of decoding, and the scores.
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
        FlashDecode<TSimd, TVector>.Run(problem.Forward, operands, operands[AttentionDecodeMassProblem.ColumnMass], workspace, workers);
}
