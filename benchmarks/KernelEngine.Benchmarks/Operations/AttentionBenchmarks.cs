using BenchmarkDotNet.Attributes;
using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Operations;

/// <summary>What the benchmarks of the two attention operations share.</summary>
public abstract class AttentionBenchmarks : OperationBenchmarks
{
    [GlobalSetup(Target = nameof(MultiHeadAttention))]
    public void SetUpMultiHeadAttention() => SetUp(static (_, threads) => new OnnxMultiHeadAttentionPeer(threads));

    [GlobalSetup(Target = nameof(GroupQueryAttention))]
    public void SetUpGroupQueryAttention() => SetUp(static (_, threads) => new OnnxGroupQueryAttentionPeer(threads));

    [Benchmark(Description = "OnnxRuntime MultiHeadAttention")]
    public void MultiHeadAttention() => RunContender();

    [Benchmark(Description = "OnnxRuntime GroupQueryAttention")]
    public void GroupQueryAttention() => RunContender();
}
