namespace KernelEngine.Benchmarks.Operations;

/// <summary>Attention of many query rows.</summary>
public class AttentionForwardBenchmarks : AttentionBenchmarks
{
    public override IEnumerable<string> Problems =>
        ["h=8 q=128 k=128 d=64", "h=8 q=512 k=512 d=64", "h=8 q=2048 k=2048 d=64", "h=8 q=2048 k=2048 d=64 causal"];

    public override string OperationName => "attention-forward";
}
