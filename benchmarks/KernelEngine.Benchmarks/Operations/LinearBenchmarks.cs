using BenchmarkDotNet.Attributes;
using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Operations;

/// <summary>Matrix-matrix and matrix-vector products.</summary>
public class LinearBenchmarks : OperationBenchmarks
{
    public override IEnumerable<string> Problems =>
        ["m=256 n=256 k=256", "m=1024 n=1024 k=1024", "m=2048 n=2048 k=2048", "m=1 n=65536 k=1536", "m=1 n=65536 k=1536 w=bf16"];

    public override string OperationName => "linear";

    [GlobalSetup(Target = nameof(OnnxRuntime))]
    public void SetUpOnnxRuntime() => SetUp(static (_, threads) => new OnnxGemmPeer(threads, isPacked: false));

    [GlobalSetup(Target = nameof(OnnxRuntimeConstantWeight))]
    public void SetUpOnnxRuntimeConstantWeight() => SetUp(static (_, threads) => new OnnxGemmPeer(threads, isPacked: true));

    [Benchmark]
    public void OnnxRuntime() => RunContender();

    [Benchmark(Description = "OnnxRuntime, constant weight")]
    public void OnnxRuntimeConstantWeight() => RunContender();
}
