namespace KernelEngine.Benchmarks.Peers;

/// <summary>An implementation that computes workloads, the engine's own among them.</summary>
public abstract class Peer(string name)
{
    public string Name { get; } = name;

    /// <summary>Whether its time may be the one that others are divided into: that of another library on the same data.</summary>
    public virtual bool IsBaseline => true;

    /// <summary>False when it computes a related problem, whose result is another.</summary>
    public virtual bool IsSameProblem => true;

    /// <summary>Prepares the implementation: conversions and packing that a user would do once are done here.</summary>
    /// <exception cref="NotSupportedException">It cannot compute this workload here; the message says why.</exception>
    public abstract Contender Create(Workload workload);

    public override string ToString() => Name;
}
