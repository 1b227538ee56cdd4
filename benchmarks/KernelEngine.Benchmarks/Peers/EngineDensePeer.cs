namespace KernelEngine.Benchmarks.Peers;

/// <summary>The engine without the problem's sliding window: what the window saves.</summary>
public sealed class EngineDensePeer(Device device) : Peer($"{EnginePeer.RowName}, no window")
{
    public override bool IsBaseline => false;

    public override bool IsSameProblem => false;

    public override Contender Create(Workload workload) => workload is AttentionWorkload { HasWindow: true } attention
        ? attention.CreateDense(device)
        : throw new NotSupportedException("there is no window");
}
