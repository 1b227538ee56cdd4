namespace KernelEngine.Tests.Cases;

/// <summary>Odd lengths, empty ranges, group sizes, head dimensions and storage types of prefill attention.</summary>
public sealed class AttentionForwardCases : IOperationCases<AttentionProblem>
{
    public static Operation<AttentionProblem> Operation => KernelEngine.Attention.ForwardOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        // Lengths that no block size divides.
        "q=1 k=17 d=64", "q=3 k=3 d=64 causal", "q=17 k=1 d=8", "q=64 k=128 d=32", "h=2 q=113 k=203 d=40",
        "h=2 q=113 k=203 d=64 causal", "q=239 k=1 d=80", "q=257 k=257 d=64", "q=257 k=257 d=64 causal", "q=31 k=513 d=128 causal",
        "q=513 k=31 d=64", "q=65 k=63 d=96 causal",
        // Rows that see nothing.
        "q=5 k=0 d=64", "q=5 k=0 d=64 causal bf16", "q=70 k=20 d=64 causal", "h=4 kv=2 q=19 k=3 d=40 causal f16", "q=513 k=257 d=8 causal",
        // Nothing to compute.
        "b=0 h=2 q=4 k=4 d=8", "q=0 k=5 d=8",
        // Group sizes.
        "h=2 kv=1 q=33 k=33 d=64", "h=8 kv=2 q=20 k=45 d=40 causal", "h=7 kv=1 q=13 k=77 d=64 causal", "h=8 kv=1 q=17 k=40 d=128",
        "b=3 h=6 kv=3 q=10 k=21 d=16 causal",
        // Head dimensions, those of value apart from those of key.
        "q=9 k=30 d=1", "q=9 k=30 d=3 dv=5", "q=20 k=33 d=8", "q=20 k=33 d=40 causal", "q=20 k=33 d=80", "q=20 k=33 d=96",
        "q=40 k=70 d=192 dv=128 causal", "q=33 k=65 d=256", "q=20 k=33 d=255 dv=253", "q=12 k=29 d=64 dv=256",
        // Storage types.
        "h=4 kv=2 q=65 k=129 d=64 causal f16", "h=4 kv=2 q=65 k=129 d=64 causal bf16", "q=33 k=100 d=128 kvtype=bf16",
        "q=33 k=100 d=80 causal kvtype=f16", "q=33 k=100 d=40 bf16 kvtype=f32", "h=2 kv=1 q=17 k=51 d=96 dv=72 f16", "q=17 k=51 d=7 bf16",
        // Scales: uniform weights, reversed order, scores far beyond the range of exp.
        "q=17 k=51 d=64 scale=0", "q=17 k=51 d=64 causal scale=-0.25", "q=17 k=51 d=64 scale=30", "q=17 k=51 d=64 scale=30 bf16",
        // Alignment and windows.
        "q=7 k=12 d=8 causal topleft", "q=12 k=7 d=8 causal topleft", "h=2 q=150 k=150 d=32 causal left=20", "q=40 k=300 d=16 left=13 right=5",
        "q=300 k=300 d=64 causal left=31 sinks=4", "q=33 k=70 d=8 left=0 right=0 topleft", "h=4 kv=2 q=130 k=270 d=24 causal left=100 sinks=3 bf16",
        "q=90 k=90 d=16 causal chunk=32", "q=20 k=90 d=16 chunk=17", "q=90 k=20 d=16 causal chunk=16", "q=600 k=600 d=16 causal left=300 sinks=270",
        "h=4 q=60 k=200 d=16 causal headwindows", "b=2 h=4 kv=2 q=33 k=33 d=8 headwindows",
        // Scores: soft cap, linear bias, bias, masks.
        "q=33 k=65 d=16 softcap=15", "h=2 q=33 k=65 d=16 causal softcap=2 scale=3 f16", "b=2 h=3 q=20 k=50 d=16 alibi", "h=2 q=70 k=70 d=8 causal alibi left=9",
        "b=2 h=2 q=17 k=35 d=8 bias=bhqk", "b=2 h=2 q=17 k=35 d=8 bias=qk biastype=bf16 causal", "b=2 h=2 q=17 k=35 d=8 bias=k", "b=2 h=2 q=17 k=35 d=8 bias=hq",
        "q=9 k=5 d=8 bias=1", "b=2 h=4 kv=2 q=100 k=300 d=16 bias=hk biastype=f16 bf16", "b=2 h=2 q=17 k=35 d=8 mask=bhqk", "b=2 h=2 q=130 k=300 d=8 mask=bk causal",
        "q=40 k=40 d=8 mask=qk softcap=5 alibi bias=qk causal", "q=5 k=3 d=8 mask=q", "b=2 h=2 q=100 k=300 d=16 block=32", "h=2 q=200 k=200 d=16 causal block=64 bf16",
        // Sinks, gains, ragged batches, cached lengths.
        "h=3 q=20 k=40 d=16 sink", "h=2 q=20 k=7 d=16 causal sink", "q=3 k=0 d=8 sink", "h=3 q=20 k=40 d=16 gain offset", "h=2 q=20 k=40 d=16 gain f16 causal",
        "h=2 q=50 k=90 d=16 ragged=4", "h=4 kv=2 q=500 k=300 d=32 causal ragged=7", "q=20 k=20 d=8 causal ragged=30 left=2 sinks=1 alibi sink bf16", "b=3 h=2 q=10 k=50 d=8 lengths causal",
        // Pages and narrow storage.
        "b=2 h=4 kv=2 q=9 k=70 d=16 page=16 pool=11 causal", "b=2 h=4 kv=2 q=9 k=70 d=16 page=8 pool=11 headpages lengths slotbias", "h=2 q=9 k=50 d=16 kvtype=i8 causal",
        "h=4 kv=2 q=70 k=576 d=64 page=32 pool=50 headpages lengths causal", "h=2 q=33 k=640 d=40 page=64 pool=13 causal bf16",
        "h=4 kv=2 q=200 k=300 d=24 dv=40 page=100 pool=9 headpages lengths causal slotbias",
    ];
}
