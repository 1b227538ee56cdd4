namespace KernelEngine.Benchmarks.Peers;

/// <summary>The engine itself, through its public entry point.</summary>
public sealed class EnginePeer(Device device) : Peer(RowName)
{
    public const string RowName = "KernelEngine";

    public override bool IsBaseline => false;

    public override Contender Create(Workload workload) => workload.CreateEngine(device, isPlain: false);
}
