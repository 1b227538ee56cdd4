namespace KernelEngine.Tests.Cases;

/// <summary>
/// Every aggregate and pool, group sizes, protected slots up to all of them, slots around vectors and the blocks of 1024.
/// </summary>
public sealed class KvCacheScoreCases : IOperationCases<KvCacheScoreProblem>
{
    public static Operation<KvCacheScoreProblem> Operation => KvCells.ScoreOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=2", "h=2 cells=2 n=15", "h=2 cells=2 n=16", "h=2 n=17", "h=8 n=33 agg=max", "h=8 cells=2 n=65 agg=sum scale=0.5",
        "h=4 cells=2 n=64 scale=-2",
        "h=4 cells=2 n=200 pool=avg3", "h=4 cells=2 n=200 pool=avg5", "h=4 cells=2 n=200 pool=max5", "h=4 cells=2 n=200 pool=avg1",
        "h=4 n=9 pool=max31",
        "h=4 n=9 pool=avg31 recent=4", "cells=2 n=100 sinks=4 recent=32", "cells=2 n=100 sinks=1000", "cells=2 n=100 recent=1000 pool=max3",
        "h=8 cells=4 n=1023 pool=max7 recent=5", "h=8 cells=4 n=1024 pool=avg7 sinks=3", "h=4 cells=2 n=1025 pool=avg5",
        "h=4 cells=2 n=3000 pool=max1023 agg=max",
        "h=2 n=2300 pool=avg101 agg=sum recent=700", "cells=3 n=0", "h=28 cells=4 n=130 agg=max pool=avg9",
    ];
}
