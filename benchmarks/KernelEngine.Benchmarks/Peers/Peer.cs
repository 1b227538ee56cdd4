namespace KernelEngine.Benchmarks.Peers;

/// <summary>An implementation that computes workloads, the engine's own among them.</summary>
public abstract class Peer(string name)
{
    public string Name { get; } = name;

    /// <summary>Prepares the implementation: conversions and packing that a user would do once are done here.</summary>
    /// <exception cref="NotSupportedException">It cannot compute this workload here; the message says why.</exception>
    public abstract Contender Create(Workload workload);

    public override string ToString() => Name;
}
