namespace KernelEngine.Tests.Cases;

/// <summary>Rows at the beginning, in the middle and at the end of a pass, under every mask and score transform; key counts around a block.</summary>
public sealed class AttentionWeightsCases : IOperationCases<AttentionWeightsProblem>
{
    public static Operation<AttentionWeightsProblem> Operation => KernelEngine.Attention.WeightsOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        // Sizes and groups.
        "q=1 k=17 d=64", "q=7 k=255 d=40", "q=6 k=256 d=8", "q=13 k=257 d=64", "h=2 q=5 k=513 d=16 causal", "h=6 kv=2 q=9 k=65 d=80", "h=7 kv=1 q=9 k=65 d=3 causal",
        "b=3 h=4 kv=2 q=8 k=33 d=96 causal", "q=20 k=5 d=16 causal", "q=2 k=40 d=255", "b=0 h=2 q=3 k=4 d=8", "q=0 k=9 d=8", "q=3 k=9 d=8 rows=0",
        // Storage types.
        "h=2 q=9 k=70 d=64 f16", "h=2 q=9 k=70 d=64 bf16 causal", "q=9 k=70 d=33 kvtype=bf16", "q=9 k=70 d=33 bf16 kvtype=f32",
        // Rows of a longer pass.
        "h=2 q=70 k=90 d=16 causal row=60", "h=2 q=70 k=90 d=16 causal row=3 rows=9", "h=2 q=70 k=90 d=16 causal topleft row=30 rows=11",
        "h=4 kv=2 q=300 k=300 d=24 causal left=40 sinks=4 row=270 rows=20", "b=2 h=2 q=40 k=60 d=8 bias=bhqk row=11 rows=8", "b=2 h=2 q=40 k=60 d=8 mask=qk row=31",
        "b=2 h=2 q=70 k=300 d=8 block=16 causal row=33 rows=19", "h=2 q=40 k=60 d=8 alibi row=25",
        // Windows, scores, masks.
        "q=40 k=300 d=16 left=13 right=5", "h=4 q=30 k=280 d=16 causal headwindows", "q=90 k=90 d=16 causal chunk=32", "q=300 k=600 d=8 left=2 sinks=300 causal",
        "q=33 k=65 d=16 softcap=15", "h=2 q=20 k=300 d=16 causal softcap=2 scale=2 f16", "b=2 h=3 q=20 k=50 d=16 alibi", "b=2 h=2 q=17 k=35 d=8 bias=k biastype=f16",
        "b=2 h=2 q=30 k=270 d=8 mask=bhqk causal", "q=5 k=3 d=8 mask=q", "q=20 k=40 d=8 mask=qk softcap=5 alibi bias=qk causal left=9", "h=2 q=9 k=30 d=8 causal sink gain offset",
        // Ragged batches, cached lengths, pages, narrow storage.
        "h=2 q=50 k=90 d=16 ragged=4", "h=4 kv=2 q=100 k=300 d=8 causal ragged=7 left=20 sinks=2", "b=3 h=2 q=10 k=50 d=8 lengths causal", "b=2 h=4 kv=2 q=5 k=290 d=8 lengths slotbias",
        "b=2 h=4 kv=2 q=9 k=70 d=16 page=16 pool=11 causal", "b=2 h=4 kv=2 q=9 k=70 d=16 page=8 pool=11 headpages lengths causal row=3 rows=4", "h=2 q=9 k=50 d=16 kvtype=i8 causal",
        // Mass added to what is there.
        "h=6 kv=2 q=9 k=300 d=24 causal add", "h=2 q=70 k=90 d=16 causal row=3 rows=9 add", "q=3 k=9 d=8 rows=0 add", "h=2 q=50 k=90 d=16 ragged=4 add",
        "b=2 h=4 kv=2 q=5 k=290 d=8 lengths slotbias add",
    ];
}
