namespace KernelEngine.Tests.Cases;

/// <summary>Lists of nothing to everything, rows and keys around blocks and vectors, shared lists and keys, storage types.</summary>
public sealed class SparseAttentionForwardCases : IOperationCases<SparseAttentionProblem>
{
    public static Operation<SparseAttentionProblem> Operation => KernelEngine.SparseAttention.ForwardOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        // Lists around groups of sixteen, and as long as there are keys; room for more than there are.
        "q=7 k=9 d=8 keep=1", "q=65 k=130 d=32 keep=7", "q=40 k=64 d=16 keep=8", "q=40 k=64 d=64 keep=15",
        "q=40 k=64 d=64 keep=16", "q=40 k=64 d=64 keep=17", "q=9 k=64 d=64 keep=33",
        "q=40 k=200 d=16 keep=9", "q=20 k=150 d=64 keep=150", "q=20 k=17 d=8 keep=40",
        // Rows and keys around the blocks that are computed together.
        "q=1 k=300 d=64 keep=100", "q=257 k=129 d=16 keep=30", "q=300 k=600 d=8 keep=64", "h=2 q=100 k=1100 d=16 keep=300", "q=520 k=70 d=8 keep=20",
        "q=30 k=3000 d=8 keep=5",
        // Nothing to compute.
        "q=5 k=0 d=8 keep=3", "q=0 k=5 d=8 keep=3", "b=0 h=2 q=4 k=4 d=8 keep=2", "h=0 kv=1 index=1 q=4 k=4 d=8 keep=2", "q=4 k=9 d=8 keep=0",
        // Heads that share keys, lists, or both.
        "h=4 kv=2 index=4 q=33 k=65 d=16 keep=20", "h=4 kv=2 index=2 q=33 k=65 d=16 keep=20", "h=6 kv=3 index=1 q=20 k=65 d=24 keep=20",
        "h=6 kv=1 index=3 q=20 k=65 d=24 keep=20", "h=4 kv=4 index=2 q=20 k=65 d=24 keep=20", "b=3 h=2 q=10 k=30 d=16 keep=12",
        // Head dimensions, those of value apart from those of key.
        "q=9 k=30 d=1 keep=9", "q=9 k=30 d=3 dv=5 keep=9", "q=9 k=30 d=17 dv=33 keep=11", "q=9 k=30 d=48 dv=80 keep=17", "q=20 k=70 d=96 keep=30",
        "q=20 k=70 d=128 keep=30", "q=12 k=50 d=192 dv=128 keep=20", "q=9 k=40 d=255 dv=253 keep=20", "q=9 k=40 d=64 dv=256 keep=20", "q=9 k=40 d=256 keep=20",
        // Storage types, scale, cap.
        "h=4 kv=2 index=2 q=65 k=129 d=64 keep=40 f16", "h=4 kv=2 index=4 q=65 k=129 d=64 keep=40 bf16", "q=17 k=51 d=7 keep=21 f16",
        "q=17 k=51 d=64 keep=21 scale=0", "q=17 k=51 d=64 keep=21 scale=-0.25", "h=2 q=33 k=65 d=16 keep=30 softcap=15",
        "h=2 q=33 k=65 d=16 keep=30 softcap=2 scale=0.5 bf16",
        // Lists of 16 bits; tiles and segments of the keys, with thin lists and full ones.
        "h=4 kv=2 index=2 q=65 k=129 d=64 keep=40 columns=u16", "q=40 k=200 d=16 keep=9 columns=u16 bf16", "q=300 k=600 d=8 keep=64 columns=u16",
        "q=3 k=9000 d=8 keep=8500", "q=20 k=17000 d=64 keep=100 columns=u16", "q=2 k=65536 d=8 keep=50 columns=u16", "q=2 k=70000 d=4 keep=9",
        // Scores so far apart that a row's later keys outweigh the earlier ones of the same tile.
        "h=2 q=40 k=127 d=31 keep=44 scale=-0.5", "q=40 k=300 d=64 keep=150 scale=2 columns=u16", "q=30 k=700 d=1 keep=600 scale=9 bf16",
    ];
}
