namespace KernelEngine.Benchmarks.Operations;

/// <summary>The loss of a classifier over a vocabulary.</summary>
public class CrossEntropyForwardBenchmarks : OperationBenchmarks
{
    public override IEnumerable<string> Problems => ["n=128 v=8192 d=256", "n=1024 v=49152 d=576", "n=512 v=128256 d=2048"];

    public override string OperationName => "cross-entropy-forward";
}
