namespace KernelEngine.Tests.Cases;

/// <summary>Head dimensions around tiles and panels, slots around the blocks of 96 and 32, groups, sinks, types.</summary>
public sealed class KvCacheExpectCases : IOperationCases<KvCacheExpectProblem>
{
    public static Operation<KvCacheExpectProblem> Operation => KvCells.ExpectOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=2 page=1 pool=2 d=2 dv=1", "cells=3 n=30 page=10 pool=9 d=3", "h=4 cells=2 n=33 page=33 pool=2 d=15",
        "h=2 n=95 page=5 pool=19 d=16",
        "h=2 n=97 page=97 pool=1 d=17 eps=0.5", "h=6 cells=2 n=200 page=20 pool=20 d=24 dv=40 sinks=4",
        "n=64 page=16 pool=4 d=64 sinks=1000",
        "h=2 n=50 page=10 pool=5 d=65", "n=40 page=8 pool=5 d=100 scale=0.05", "n=13 page=13 pool=1 d=128", "n=7 page=7 pool=1 d=255",
        "n=9 page=3 pool=3 d=256 bf16",
        "h=8 cells=2 n=96 page=32 pool=6 d=40 sinks=2 bf16", "h=2 n=60 page=4 pool=15 d=48 f16",
        "h=4 cells=2 n=64 page=16 pool=8 d=36 dv=16 i8 sinks=1",
        "cells=2 n=0 page=4 pool=0 d=8", "h=2 cells=2 n=400 page=40 pool=20 d=8 scale=3",
    ];
}
