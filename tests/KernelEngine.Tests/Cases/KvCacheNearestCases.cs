namespace KernelEngine.Tests.Cases;

/// <summary>Head dimensions around vector widths, thresholds that all, some and none reach, all storage types.</summary>
public sealed class KvCacheNearestCases : IOperationCases<KvCacheNearestProblem>
{
    public static Operation<KvCacheNearestProblem> Operation => KvCells.NearestOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=1 page=1 pool=1 d=3", "n=8 page=4 pool=2 d=8", "cells=3 n=40 page=8 pool=17 d=33 dv=17", "cells=2 n=64 page=32 pool=5 d=64 tau=0.02",
        "cells=2 n=33 page=11 pool=6 d=66 tau=0.01", "cells=4 n=16 page=16 pool=4 d=128", "cells=2 n=24 page=8 pool=6 d=129 dv=256 tau=1.5",
        "cells=2 n=24 page=8 pool=6 d=256 dv=8 bf16", "cells=2 n=24 page=8 pool=6 d=65 f16", "cells=5 n=96 page=32 pool=15 d=40 tau=0.05 bf16",
        // Nothing to compare.
        "cells=2 n=0 page=4 pool=0 d=8", "cells=0 n=8 page=4 pool=1 d=8",
    ];
}
