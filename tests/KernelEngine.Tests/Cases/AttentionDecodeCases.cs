namespace KernelEngine.Tests.Cases;

/// <summary>A few query rows over caches of odd lengths, empty to long enough to be split over threads.</summary>
public sealed class AttentionDecodeCases : IOperationCases<AttentionProblem>
{
    public static Operation<AttentionProblem> Operation => KernelEngine.Attention.DecodeOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        // Cache lengths.
        "q=1 k=3 d=64", "q=1 k=17 d=128", "q=1 k=128 d=64", "q=1 k=339 d=64", "h=2 q=1 k=2049 d=64", "h=2 q=1 k=5003 d=128",
        "h=8 kv=2 q=1 k=20001 d=32",
        // A few rows.
        "q=3 k=799 d=64 causal", "h=2 q=3 k=1024 d=64", "q=16 k=2000 d=64 causal", "q=5 k=3 d=64 causal", "h=4 kv=2 q=2 k=1 d=40 causal",
        // Rows that see nothing, and nothing to compute.
        "q=1 k=0 d=64", "h=8 kv=2 q=3 k=0 d=64 bf16", "b=0 q=1 k=7 d=8", "q=0 k=7 d=8",
        // Group sizes.
        "h=2 kv=1 q=1 k=257 d=64", "h=4 kv=1 q=1 k=257 d=64", "h=7 kv=1 q=1 k=600 d=40", "h=8 kv=1 q=1 k=513 d=128",
        "b=3 h=8 kv=4 q=1 k=203 d=64", "b=2 h=14 kv=2 q=2 k=113 d=64 causal", "b=5 h=16 kv=16 q=1 k=113 d=16",
        // Head dimensions.
        "q=1 k=300 d=1", "q=1 k=300 d=8", "q=1 k=300 d=40", "q=1 k=300 d=80", "q=1 k=300 d=96", "h=2 q=1 k=300 d=192 dv=128",
        "h=2 q=1 k=300 d=256", "h=3 q=1 k=300 d=255 dv=253", "q=1 k=300 d=5 dv=3",
        // Storage types.
        "h=8 kv=2 q=1 k=700 d=128 f16", "h=8 kv=2 q=1 k=700 d=128 bf16", "h=4 kv=2 q=1 k=700 d=64 kvtype=bf16",
        "h=4 kv=2 q=3 k=700 d=64 causal kvtype=f16", "h=2 q=1 k=300 d=80 bf16 kvtype=f32", "h=2 q=1 k=300 d=7 f16",
        // 16-bit storage at the head dimensions of tensor cores: lengths around a block, group sizes, rows of more than one tile, splits.
        "h=2 q=1 k=1 d=64 bf16", "h=8 kv=2 q=1 k=17 d=128 f16", "b=2 h=8 kv=1 q=1 k=257 d=64 bf16", "h=8 kv=1 q=1 k=4097 d=128 bf16", "b=3 h=4 kv=4 q=1 k=257 d=128 bf16",
        "h=4 kv=1 q=1 k=4097 d=64 f16", "h=8 kv=1 q=5 k=257 d=128 causal bf16", "b=2 h=6 kv=2 q=3 k=17 d=64 causal f16", "h=4 kv=2 q=1 k=1025 d=96 bf16", "h=4 kv=1 q=2 k=700 d=256 causal f16",
        "h=2 q=5 k=3 d=128 causal bf16", "h=40 kv=2 q=1 k=300 d=128 bf16", "h=4 kv=2 q=4 k=600 d=128 causal left=100 bf16", "h=2 q=9 k=600 d=64 left=40 right=7 f16", "h=2 q=5 k=300 d=64 causal topleft bf16",
        "h=4 kv=1 q=1 k=700 d=128 scale=2 bf16", "b=3 h=8 kv=2 q=1 k=1025 d=128 lengths bf16", "b=2 h=8 kv=2 q=1 k=1000 d=128 page=16 pool=70 lengths bf16", "b=2 h=8 kv=1 q=1 k=4097 d=64 page=64 pool=70 f16",
        "b=2 h=8 kv=4 q=2 k=257 d=128 causal page=7 pool=300 headpages lengths bf16",
        // Scales.
        "q=1 k=300 d=64 scale=0", "h=2 q=1 k=1300 d=64 scale=-0.25", "h=2 q=1 k=1300 d=64 scale=30", "h=4 kv=1 q=1 k=700 d=64 scale=30 bf16",
        // Pages: of all heads or of one, lengths by head, biases of slots.
        "q=1 k=300 d=64 page=16 pool=40", "b=2 h=8 kv=2 q=1 k=1000 d=64 page=32 pool=70 lengths", "b=3 h=8 kv=4 q=1 k=700 d=40 page=1 pool=900 headpages lengths bf16",
        "b=2 h=4 kv=2 q=3 k=513 d=64 causal page=8 pool=200 headpages lengths slotbias", "h=7 kv=1 q=1 k=2000 d=128 page=256 pool=9 f16", "h=4 kv=2 q=1 k=999 d=16 slotbias",
        "b=5 h=4 kv=2 q=1 k=2000 d=64 lengths",
        // i8 storage.
        "h=8 kv=2 q=1 k=700 d=128 kvtype=i8", "b=2 h=4 kv=1 q=2 k=513 d=40 dv=24 causal kvtype=i8 page=16 pool=70 headpages lengths", "h=3 q=1 k=1000 d=64 bf16 kvtype=i8 slotbias",
        // Windows, sinks, masks of a tree of drafts, caps and biases.
        "h=4 kv=2 q=1 k=3000 d=64 causal left=255 sinks=4", "h=4 kv=1 q=5 k=900 d=32 causal left=100", "h=4 q=1 k=900 d=32 causal headwindows", "h=4 kv=2 q=7 k=700 d=64 mask=qk",
        "b=2 h=4 kv=2 q=7 k=300 d=64 mask=bqk page=32 pool=30", "h=4 kv=2 q=1 k=3000 d=64 sink softcap=20", "h=8 kv=2 q=2 k=700 d=64 causal alibi", "h=4 kv=2 q=2 k=700 d=64 bias=hqk",
        "q=1 k=0 d=8 sink", "h=4 kv=1 q=1 k=700 d=64 gain offset sink lengths", "h=2 q=6 k=900 d=32 causal ragged=4", "h=2 q=2 k=900 d=32 block=128",
    ];
}
