namespace KernelEngine.Tests.Cases;

/// <summary>
/// Both pairings, partial rotation, storage types, cached lengths and pages. Pools have a page for every entry of the table, so
/// that no two heads write the same row.
/// </summary>
public sealed class AttentionAppendCases : IOperationCases<AttentionAppendProblem>
{
    public static Operation<AttentionAppendProblem> Operation => KernelEngine.Attention.AppendOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        // Positions and sizes.
        "k=5 d=8 rd=8", "n=5 k=5 d=8 rd=8", "n=3 k=70 d=16 rd=16 maxpos=40", "n=3 k=20 d=16 rd=16 maxpos=90", "b=3 h=4 kv=2 n=7 k=33 d=48 dv=20 rd=48",
        "h=8 kv=2 n=200 k=300 d=64 rd=64", "h=8 kv=1 n=1 k=30 d=128 rd=128", "h=3 n=2 k=9 d=24", "b=0 kv=2 n=1 k=5 d=8", "kv=0 h=2 n=1 k=5 d=8 rd=4",
        // Rows around every vector width.
        "kv=2 n=2 k=5 d=7 rd=2", "kv=2 n=2 k=5 d=34 rd=34", "kv=2 n=2 k=5 d=66 dv=65 rd=62", "kv=2 n=2 k=5 d=256 rd=256", "kv=2 n=2 k=5 d=255 rd=254 interleaved",
        "kv=2 h=2 n=2 k=5 d=14 rd=14 interleaved", "kv=2 h=2 n=2 k=5 d=80 rd=54 interleaved", "b=2 kv=3 h=6 n=65 k=70 d=70 rd=38 interleaved",
        // Storage types.
        "kv=2 h=4 n=3 k=9 d=40 rd=40 f16", "kv=2 h=4 n=3 k=9 d=40 rd=20 interleaved bf16", "kv=2 h=2 n=3 k=9 d=33 rd=32 kvtype=f16",
        "kv=2 h=2 n=3 k=9 d=33 rd=32 kvtype=bf16", "kv=2 h=2 n=3 k=9 d=33 rd=32 bf16 kvtype=f32", "kv=2 n=3 k=9 d=33 rd=32 f16 kvtype=bf16",
        "kv=2 h=2 n=3 k=9 d=33 rd=32 kvtype=i8", "b=2 kv=2 h=2 n=3 k=9 d=64 dv=5 rd=64 interleaved bf16 kvtype=i8",
        "kv=2 n=3 k=9 d=8 rd=8 f16 kvtype=i8 page=4 pool=7", "kv=2 n=3 k=9 d=1 kvtype=i8",
        // Cached lengths and pages.
        "b=2 kv=3 h=3 n=4 k=20 d=16 rd=16 lengths", "b=2 kv=2 h=2 n=4 k=21 d=16 rd=16 lengths maxpos=500 f16", "kv=2 h=2 n=6 k=40 d=16 rd=16 page=8 pool=10",
        "b=3 kv=2 n=5 k=24 d=16 rd=8 interleaved page=4 pool=40 headpages", "b=2 kv=2 h=4 n=9 k=30 d=24 dv=8 rd=24 page=1 pool=130 headpages lengths bf16",
        "b=2 kv=2 n=3 k=30 d=8 page=30 pool=4 headpages kvtype=bf16",
    ];
}
