using ILGPU;

namespace KernelEngine;

/// <summary>An attention kernel's device code for one pair of storages: every tile, and the choice between them.</summary>
internal abstract class AttentionInstances
{
    /// <summary>The code of every tile.</summary>
    public abstract IEnumerable<GpuEntry> Entries { get; }

    /// <summary>Queues the work on the device.</summary>
    public abstract void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device);
}
