namespace KernelEngine.Tests.Cases;

/// <summary>Odd lengths, empty ranges, group sizes, head dimensions, storage types and every feature that has a gradient.</summary>
public sealed class AttentionBackwardCases : IOperationCases<AttentionBackwardProblem>
{
    public static Operation<AttentionBackwardProblem> Operation => KernelEngine.Attention.BackwardOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        // Lengths that no block size divides, and those that one does.
        "q=1 k=17 d=64", "q=3 k=3 d=64 causal", "q=17 k=1 d=8", "q=64 k=128 d=32", "h=2 q=113 k=203 d=40", "h=2 q=113 k=203 d=64 causal",
        "q=257 k=257 d=16 causal", "q=97 k=193 d=16", "q=96 k=192 d=64 causal", "q=192 k=384 d=8", "q=31 k=400 d=24 causal", "q=400 k=31 d=16",
        // Rows that see nothing, keys that no row sees, and nothing to compute.
        "q=5 k=0 d=64", "q=70 k=20 d=64 causal", "h=4 kv=2 q=19 k=3 d=40 causal f16", "q=20 k=70 d=8 causal topleft", "b=0 h=2 q=4 k=4 d=8 sink alibi bias=1",
        "q=0 k=5 d=8 sink", "h=2 q=0 k=5 d=8 bias=hk",
        // Group sizes.
        "h=2 kv=1 q=33 k=33 d=64", "h=8 kv=2 q=20 k=45 d=40 causal", "h=7 kv=1 q=13 k=77 d=64 causal", "b=3 h=6 kv=3 q=10 k=21 d=16 causal",
        "h=4 kv=1 q=113 k=50 d=32 causal",
        // Head dimensions, those of value apart from those of key.
        "q=9 k=30 d=1", "q=9 k=30 d=3 dv=5", "q=20 k=33 d=80", "q=20 k=33 d=96 causal", "q=20 k=33 d=128", "q=40 k=70 d=192 dv=128 causal", "q=33 k=65 d=256",
        "q=20 k=33 d=255 dv=253", "q=12 k=29 d=64 dv=256",
        // Storage types.
        "h=4 kv=2 q=65 k=129 d=64 causal f16", "h=4 kv=2 q=65 k=129 d=64 causal bf16", "q=33 k=100 d=80 kvtype=bf16", "q=33 k=100 d=40 causal bf16 kvtype=f32",
        "q=17 k=51 d=7 f16 gradlse",
        // What tensor cores compute: 16-bit storage, head dimensions 64 and 128.
        "q=1 k=1 d=64 bf16", "q=1 k=17 d=128 f16", "h=2 q=17 k=65 d=64 bf16", "h=4 kv=2 q=65 k=200 d=128 causal bf16", "b=2 h=2 q=200 k=65 d=64 causal f16",
        "h=3 kv=1 q=200 k=513 d=128 f16", "h=2 q=513 k=200 d=64 causal bf16", "q=513 k=513 d=128 causal bf16", "h=2 kv=1 q=17 k=513 d=64 bf16 gradlse",
        "q=150 k=260 d=128 causal left=40 f16", "h=2 q=140 k=300 d=64 left=70 right=20 bf16", "q=140 k=140 d=128 causal topleft bf16", "q=5 k=0 d=128 bf16",
        // Scales.
        "q=17 k=51 d=64 scale=0", "q=17 k=51 d=64 causal scale=-0.25",
        // Gradient of the log-sum-exp.
        "h=2 q=33 k=65 d=16 gradlse", "h=4 kv=2 q=20 k=10 d=8 causal gradlse bf16",
        // Alignment and windows.
        "q=7 k=12 d=8 causal topleft", "q=12 k=7 d=8 causal topleft", "h=2 q=150 k=150 d=32 causal left=20", "q=40 k=300 d=16 left=13 right=5",
        "q=300 k=300 d=8 causal left=31 sinks=4", "q=33 k=70 d=8 left=0 right=0 topleft", "h=4 kv=2 q=130 k=270 d=24 causal left=100 sinks=3 bf16",
        "q=90 k=90 d=16 causal chunk=32", "q=20 k=90 d=16 chunk=17", "q=90 k=20 d=16 causal chunk=16", "q=300 k=300 d=8 causal left=100 sinks=90",
        "h=4 q=60 k=200 d=16 causal headwindows", "b=2 h=4 kv=2 q=33 k=33 d=8 headwindows",
        // Soft cap and linear bias.
        "q=33 k=65 d=16 softcap=15", "h=2 q=33 k=65 d=16 causal softcap=2 scale=0.5 f16", "q=20 k=210 d=16 softcap=0.5 left=20", "b=2 h=3 q=20 k=50 d=16 alibi",
        "h=2 q=70 k=70 d=8 causal alibi left=9", "h=4 kv=2 q=30 k=200 d=8 alibi softcap=3",
        // Biases: with rows of their own, and summed over what repeats.
        "b=2 h=2 q=17 k=35 d=8 bias=bhqk", "b=2 h=2 q=17 k=35 d=8 bias=qk biastype=bf16 causal", "b=2 h=2 q=17 k=35 d=8 bias=k", "b=2 h=2 q=17 k=35 d=8 bias=hq",
        "q=9 k=5 d=8 bias=1", "b=2 h=4 kv=2 q=100 k=300 d=16 bias=hk biastype=f16 bf16", "h=4 q=100 k=300 d=16 bias=hqk causal", "b=3 h=2 q=20 k=210 d=8 bias=bqk",
        "b=2 h=2 q=20 k=210 d=8 bias=bhqk biastype=f16 left=30 causal", "q=110 k=210 d=8 bias=qk softcap=4 causal",
        // Masks.
        "b=2 h=2 q=17 k=35 d=8 mask=bhqk", "b=2 h=2 q=130 k=300 d=8 mask=bk causal", "q=5 k=3 d=8 mask=q", "b=2 h=2 q=100 k=300 d=16 block=32",
        "h=2 q=200 k=200 d=16 causal block=64 bf16", "h=2 q=200 k=400 d=8 block=200 bias=hqk",
        // Sinks and ragged batches.
        "h=3 q=20 k=40 d=16 sink", "h=2 q=20 k=7 d=16 causal sink gradlse", "q=3 k=0 d=8 sink", "h=4 kv=2 q=50 k=90 d=16 sink bf16",
        "h=2 q=50 k=90 d=16 ragged=4", "h=4 kv=2 q=300 k=250 d=32 causal ragged=7", "q=20 k=20 d=8 causal ragged=30 left=2 sinks=1 alibi sink bf16",
        // Several at once.
        "h=6 q=40 k=40 d=8 mask=qk softcap=5 alibi bias=qk causal", "b=2 h=4 kv=2 q=100 k=200 d=40 dv=24 causal left=50 sinks=3 softcap=8 alibi bias=hqk mask=bk sink gradlse",
        "b=2 h=6 kv=2 q=50 k=70 d=64 softcap=8 bias=bk block=16 sink gradlse f16", "h=4 kv=1 q=50 k=70 d=16 causal headwindows alibi bias=hk mask=hqk sink bf16 biastype=bf16",
    ];
}
