namespace KernelEngine.Tests.Cases;

/// <summary>Groups of one to seven heads, rows around vectors, few weights kept to all of them, slots around groups of threads.</summary>
public sealed class AttentionDecodeSelectiveCases : IOperationCases<AttentionDecodeSelectiveProblem>
{
    public static Operation<AttentionDecodeSelectiveProblem> Operation => KernelEngine.Attention.DecodeSelectiveOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=2 page=1 pool=2 d=2 keep=1", "cells=3 n=33 page=11 pool=9 d=15 keep=1", "h=2 n=128 page=32 pool=4 d=16 keep=4 renormalised",
        "h=7 n=129 page=129 pool=1 d=17 keep=3", "h=5 n=200 page=20 pool=10 d=64 dv=65 keep=10",
        "h=8 cells=2 n=300 page=30 pool=20 d=20 keep=300",
        "h=4 cells=4 n=500 page=50 pool=40 d=32 dv=130 keep=20 scale=1", "h=6 cells=2 n=96 page=32 pool=6 d=128 keep=16 bf16",
        "h=4 cells=2 n=64 page=4 pool=32 d=255 dv=256 keep=6 f16", "h=4 cells=2 n=64 page=16 pool=8 d=36 dv=16 keep=5 i8 renormalised",
        "cells=2 n=0 page=4 pool=0 d=8 keep=3", "h=2 cells=2 n=1000 page=100 pool=20 d=8 keep=50 scale=3",
    ];
}
