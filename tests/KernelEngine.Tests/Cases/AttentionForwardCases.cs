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
    ];
}
