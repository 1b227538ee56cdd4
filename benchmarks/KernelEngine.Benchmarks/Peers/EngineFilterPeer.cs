namespace KernelEngine.Benchmarks.Peers;

/// <summary>The engine with a filter of the gradients: what leaving out small probabilities saves.</summary>
public sealed class EngineFilterPeer(Device device) : Peer($"{EnginePeer.RowName}, filter 2^-12")
{
    public override bool IsBaseline => false;

    public override bool IsSameProblem => false;

    public override Contender Create(Workload workload) => workload is CrossEntropyBackwardWorkload training
        ? training.CreateFiltered(device)
        : throw new NotSupportedException("there is nothing to filter");
}
