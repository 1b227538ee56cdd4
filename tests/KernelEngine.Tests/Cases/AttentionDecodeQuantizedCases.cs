namespace KernelEngine.Tests.Cases;

/// <summary>All widths of codes, rows and groups around vector widths, pages of any size, ratios of heads, all storage types.</summary>
public sealed class AttentionDecodeQuantizedCases : IOperationCases<AttentionDecodeQuantizedProblem>
{
    public static Operation<AttentionDecodeQuantizedProblem> Operation => KernelEngine.Attention.DecodeQuantizedOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "q=1 k=1 page=1 pool=1 d=1 bits=8", "q=1 k=9 page=4 pool=3 d=2 bits=4", "q=2 k=9 page=4 pool=3 d=4 bits=2",
        "b=2 h=6 kv=2 q=3 k=70 page=8 pool=40 d=40 dv=36 bits=2", "b=2 h=6 kv=3 q=1 k=70 page=8 pool=60 d=34 dv=18 bits=4",
        "h=5 kv=1 q=1 k=100 page=16 pool=9 d=33 dv=17 bits=8", "h=8 kv=2 q=1 k=700 page=32 pool=50 d=128 bits=4", "h=4 kv=4 q=1 k=333 page=32 pool=50 d=64 bits=2",
        "h=4 kv=2 q=1 k=500 page=16 pool=70 d=256 dv=96 bits=8", "b=3 h=4 kv=2 q=2 k=300 page=200 pool=12 d=80 dv=112 bits=4", "h=14 kv=2 q=1 k=129 page=65 pool=4 d=64 bits=4",
        "h=4 kv=2 q=1 k=200 page=32 pool=14 d=128 bits=4 bf16", "h=4 kv=2 q=5 k=90 page=7 pool=26 d=48 bits=2 f16", "h=2 q=1 k=90 page=7 pool=26 d=66 dv=130 bits=8 scale=0.05 bf16",
        // No key, no row.
        "h=2 q=1 k=0 page=4 pool=0 d=8 bits=4", "b=0 h=2 q=1 k=9 page=4 pool=3 d=8 bits=4", "h=2 q=0 k=9 page=4 pool=6 d=8 bits=4",
    ];
}
