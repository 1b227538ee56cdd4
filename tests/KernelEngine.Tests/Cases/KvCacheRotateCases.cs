namespace KernelEngine.Tests.Cases;

/// <summary>Head and rotary dimensions around vector widths, both pairings, steps in both directions, in place and into a copy.</summary>
public sealed class KvCacheRotateCases : IOperationCases<KvCacheRotateProblem>
{
    public static Operation<KvCacheRotateProblem> Operation => KvCells.RotateOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=1 page=1 pool=1 d=2", "n=8 page=4 pool=2 d=8", "cells=3 n=40 page=8 pool=17 d=34", "cells=2 n=64 page=32 pool=5 d=64",
        "cells=2 n=33 page=11 pool=6 d=66 interleaved", "cells=4 n=16 page=16 pool=4 d=128 maxpos=500", "cells=2 n=24 page=8 pool=6 d=80 rd=20",
        "cells=2 n=24 page=8 pool=6 d=80 rd=54 interleaved bf16", "cells=2 n=24 page=8 pool=6 d=65 rd=64 f16", "cells=5 n=96 page=32 pool=15 d=40 bf16",
        // Into a copy.
        "n=8 page=4 pool=2 d=8 copy", "cells=3 n=40 page=8 pool=17 d=33 rd=10 copy", "cells=2 n=64 page=32 pool=5 d=64 copy interleaved f16",
        "cells=2 n=64 page=32 pool=5 d=48 rd=0 copy bf16", "cells=2 n=300 page=100 pool=6 d=256 copy",
        // Nothing to turn.
        "cells=2 n=0 page=4 pool=0 d=8 maxpos=1", "cells=0 n=8 page=4 pool=1 d=8", "cells=2 n=8 page=4 pool=4 d=7 rd=0",
    ];
}
