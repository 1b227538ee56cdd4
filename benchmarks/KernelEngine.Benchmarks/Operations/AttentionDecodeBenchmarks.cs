namespace KernelEngine.Benchmarks.Operations;

/// <summary>Attention of one query row over a long head-major cache.</summary>
public class AttentionDecodeBenchmarks : AttentionBenchmarks
{
    public override IEnumerable<string> Problems =>
        ["h=8 q=1 k=1024 d=64", "h=32 q=1 k=32768 d=128", "h=32 kv=8 q=1 k=32768 d=128", "h=32 kv=8 q=1 k=32768 d=128 bf16"];

    public override string OperationName => "attention-decode";
}
