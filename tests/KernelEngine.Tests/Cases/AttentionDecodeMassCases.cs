namespace KernelEngine.Tests.Cases;

/// <summary>Key counts around a block and around what is cut over threads; every way in which a row may not see a key.</summary>
public sealed class AttentionDecodeMassCases : IOperationCases<AttentionDecodeMassProblem>
{
    public static Operation<AttentionDecodeMassProblem> Operation => KernelEngine.Attention.DecodeMassOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "q=1 k=17 d=64", "q=1 k=256 d=8", "h=6 kv=2 q=1 k=257 d=80", "h=7 kv=1 q=4 k=700 d=3 causal", "h=8 kv=2 q=1 k=3000 d=64", "b=3 h=4 kv=2 q=2 k=33 d=96 dv=24 causal",
        "q=2 k=40 d=255", "b=0 h=2 q=3 k=4 d=8", "q=0 k=9 d=8", "h=2 q=3 k=0 d=8", "q=5 k=3 d=16 causal", "h=2 q=3 k=70 d=64 f16", "h=2 q=3 k=70 d=64 bf16 causal",
        "q=3 k=70 d=33 kvtype=bf16", "h=2 q=1 k=30 d=16 causal topleft", "q=4 k=300 d=16 left=13 right=5", "h=4 q=3 k=280 d=16 causal headwindows",
        "q=2 k=600 d=8 left=2 sinks=300 causal", "q=3 k=90 d=16 causal chunk=32", "q=3 k=65 d=16 softcap=15", "b=2 h=3 q=2 k=50 d=16 alibi", "b=2 h=2 q=3 k=70 d=8 bias=bhqk",
        "b=2 h=2 q=3 k=270 d=8 mask=bhqk causal", "q=5 k=3 d=8 mask=q", "b=2 h=2 q=6 k=300 d=8 block=16 causal", "h=2 q=2 k=30 d=8 causal sink gain offset",
        "b=2 h=4 kv=2 q=3 k=290 d=8 lengths slotbias", "b=2 h=4 kv=2 q=1 k=70 d=16 page=8 pool=11 headpages lengths causal", "h=2 q=2 k=50 d=16 kvtype=i8 causal",
        "q=1 k=1 d=8 add", "h=8 kv=2 q=1 k=3000 d=64 add", "h=6 kv=3 q=4 k=700 d=16 causal left=300 sinks=5 add", "h=3 q=2 k=0 d=8 add", "b=2 h=2 q=0 k=9 d=8 add",
        "b=2 h=4 kv=2 q=3 k=290 d=8 lengths slotbias add", "h=2 q=1 k=600 d=16 kvtype=i8 add", "b=2 h=2 q=2 k=40 d=16 f16 add",
        // Scores that rise from block to block: what was kept before is scaled. One head that is cut over threads, by many rows as well.
        "h=2 q=2 k=900 d=16 alibi causal", "h=1 q=1 k=9000 d=64 alibi add", "h=3 kv=1 q=30 k=2000 d=40 alibi causal add", "q=70 k=600 d=64 causal",
    ];
}
