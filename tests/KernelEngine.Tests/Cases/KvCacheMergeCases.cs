namespace KernelEngine.Tests.Cases;

/// <summary>Head dimensions around vector widths and group sizes, plain means and means of directions, all storage types.</summary>
public sealed class KvCacheMergeCases : IOperationCases<KvCacheMergeProblem>
{
    public static Operation<KvCacheMergeProblem> Operation => KvCells.MergeOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=1 page=1 pool=1 d=1", "n=8 page=4 pool=2 d=8", "cells=3 n=40 page=8 pool=17 d=33 dv=17", "cells=2 n=64 page=32 pool=5 d=64",
        "cells=2 n=33 page=11 pool=6 d=66 directions", "cells=4 n=16 page=16 pool=4 d=128 directions", "cells=2 n=24 page=8 pool=6 d=129 dv=256",
        "cells=2 n=24 page=8 pool=6 d=256 dv=8 directions bf16", "cells=2 n=24 page=8 pool=6 d=65 f16", "cells=5 n=96 page=32 pool=15 d=40 bf16",
        "cells=3 n=64 page=16 pool=12 d=24 directions f16",
        // Nothing to merge.
        "cells=2 n=0 page=4 pool=0 d=8", "cells=0 n=8 page=4 pool=1 d=8",
    ];
}
