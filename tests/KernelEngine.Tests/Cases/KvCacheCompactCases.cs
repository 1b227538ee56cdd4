namespace KernelEngine.Tests.Cases;

/// <summary>
/// Types, rows of words and of bytes, pages of every size. Sources are drawn from the slot itself on, in no order and more than once;
/// pools have a page for every entry of the table.
/// </summary>
public sealed class KvCacheCompactCases : IOperationCases<KvCacheCompactProblem>
{
    public static Operation<KvCacheCompactProblem> Operation => KvCells.CompactOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=2 page=1 pool=2 d=1", "n=16 page=16 pool=1 d=3", "cells=3 n=30 page=1 pool=90 d=5 dv=2",
        "cells=2 n=99 page=33 pool=9 d=31 dv=33",
        "cells=5 n=96 page=32 pool=20 d=128 dv=64 bf16", "cells=2 n=300 page=100 pool=6 d=7 dv=9 f16",
        "cells=2 n=256 page=64 pool=8 d=64 bf16",
        "cells=3 n=64 page=16 pool=12 d=128 i8", "cells=2 n=70 page=7 pool=21 d=5 dv=3 i8", "cells=2 n=40 page=8 pool=10 d=2 dv=1 i8",
        "cells=70 n=8 page=4 pool=140 d=4", "cells=2 n=64 page=32 pool=4 d=300 dv=1", "cells=2 n=0 page=4 pool=0 d=8",
        "cells=1 n=257 page=257 pool=1 d=36 f16",
    ];
}
