#pragma warning disable
namespace KernelEngine;

public enum KvAggregate { Mean, Max, Sum }
public enum KvPooling { None, Mean, Max }
public sealed record KvScoreOptions { public KvAggregate Aggregate {get;init;} public KvPooling Pooling {get;init;} public int PoolSize {get;init;} = 1; public int SinkCount {get;init;} public int RecentCount {get;init;} public float Scale {get;init;} = 1f; }
public static partial class KvCells
{
    internal static void Score(TensorView mass, TensorView lengths, TensorView scores, KvScoreOptions options) => throw new NotImplementedException();
    internal static void Norms(TensorView key, TensorView value, TensorView pageTable, TensorView lengths, TensorView keyNorms, TensorView valueNorms, TensorView keyScale, TensorView valueScale) => throw new NotImplementedException();
}
