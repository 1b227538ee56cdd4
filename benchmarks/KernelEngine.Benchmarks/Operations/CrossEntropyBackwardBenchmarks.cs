using BenchmarkDotNet.Attributes;
using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Operations;

/// <summary>The loss of a classifier over a vocabulary and its gradients, exact and filtered.</summary>
public class CrossEntropyBackwardBenchmarks : OperationBenchmarks
{
    public override IEnumerable<string> Problems => ["n=128 v=8192 d=256", "n=1024 v=49152 d=576"];

    public override string OperationName => "cross-entropy-backward";

    [GlobalSetup(Target = nameof(OnePass))]
    public void SetUpOnePass() => SetUp(static (device, _) => new EngineOnePassPeer(device));

    [GlobalSetup(Target = nameof(Filtered))]
    public void SetUpFiltered() => SetUp(static (device, _) => new EngineFilterPeer(device));

    [Benchmark(Description = EngineOnePassPeer.RowName)]
    public void OnePass() => RunContender();

    [Benchmark(Description = "KernelEngine, filter 2^-12")]
    public void Filtered() => RunContender();
}
