namespace KernelEngine.Tests.Cases;

/// <summary>All widths of codes, rows and groups around vector widths, pages of any size, all storage types.</summary>
public sealed class KvCacheDequantizeCases : IOperationCases<KvCacheDequantizeProblem>
{
    public static Operation<KvCacheDequantizeProblem> Operation => KvCells.DequantizeOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "pages=1 page=1 pool=1 codepool=1 d=1 bits=8", "pages=1 page=4 pool=1 codepool=1 d=2 bits=4", "pages=1 page=3 pool=1 codepool=1 d=4 bits=2",
        "pages=3 page=8 pool=5 codepool=4 d=40 dv=36 bits=2", "pages=3 page=8 pool=5 codepool=4 d=34 dv=18 bits=4", "pages=3 page=8 pool=5 codepool=4 d=33 dv=17 bits=8",
        "pages=4 page=32 pool=6 codepool=9 d=64 bits=4", "pages=4 page=32 pool=6 codepool=9 d=128 bits=2", "pages=5 page=16 pool=6 codepool=5 d=256 dv=96 bits=8",
        "pages=2 page=32 pool=4 codepool=4 d=80 dv=112 bits=4 bf16", "pages=2 page=16 pool=4 codepool=4 d=48 bits=2 f16", "pages=9 page=7 pool=9 codepool=9 d=66 dv=130 bits=8 bf16",
        "pages=3 page=32 pool=4 codepool=3 d=24 dv=256 bits=4 f16",
        // Nothing to do.
        "pages=0 page=4 pool=0 codepool=0 d=8 bits=4",
    ];
}
