namespace KernelEngine.Benchmarks.Peers;

/// <summary>The engine's cross-entropy where the caller allows it memory: logits are kept for a while, not computed twice.</summary>
public sealed class EngineOnePassPeer(Device device) : Peer(RowName)
{
    public const string RowName = $"{EnginePeer.RowName}, one pass";

    public override bool IsBaseline => false;

    public override Contender Create(Workload workload) => workload is CrossEntropyBackwardWorkload training
        ? training.CreateOnePass(device)
        : throw new NotSupportedException("there is nothing to compute twice");
}
