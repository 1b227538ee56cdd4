namespace KernelEngine;

/// <summary>Device code of attention for sequences of one length and for ragged ones.</summary>
internal sealed record SequenceEntries<TParameters>(TensorCoreEntries<TParameters> Equal, TensorCoreEntries<TParameters> Ragged)
    where TParameters : unmanaged
{
    /// <summary>All of it.</summary>
    public IEnumerable<GpuEntry> All => [.. Equal.All, .. Ragged.All];

    /// <summary>The code for a problem.</summary>
    public CudaEntry<TParameters> For(in AttentionProblem problem) => (problem.RaggedSequences > 0 ? Ragged : Equal).For(problem.Type);
}
