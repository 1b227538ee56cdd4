namespace KernelEngine.Benchmarks.Operations;

/// <summary>Attention's forward pass and its gradients.</summary>
public class AttentionBackwardBenchmarks : OperationBenchmarks
{
    public override IEnumerable<string> Problems =>
        ["h=8 q=128 k=128 d=64", "h=8 q=512 k=512 d=64", "h=8 q=2048 k=2048 d=64", "h=8 q=2048 k=2048 d=64 causal"];

    public override string OperationName => "attention-backward";
}
