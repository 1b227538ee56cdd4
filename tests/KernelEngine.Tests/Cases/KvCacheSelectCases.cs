namespace KernelEngine.Tests.Cases;

/// <summary>
/// Slots around group and digit sizes, one cell and many. Budgets are drawn up to the slots, so that about half of them keep all.
/// </summary>
public sealed class KvCacheSelectCases : IOperationCases<KvCacheSelectProblem>
{
    public static Operation<KvCacheSelectProblem> Operation => KvCells.SelectOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=2", "n=3", "cells=4 n=31", "cells=4 n=32", "cells=4 n=33", "cells=3 n=127", "cells=3 n=128", "cells=3 n=129", "cells=3 n=257",
        "cells=9 n=1000", "cells=2 n=4099", "n=70001", "cells=40 n=5",
        "n=1 pooled", "cells=2 n=64 pooled", "cells=7 n=129 pooled", "cells=3 n=4099 pooled", "cells=300 n=3 pooled", "cells=4 n=0 pooled",
    ];
}
