namespace KernelEngine.Tests.Cases;

/// <summary>Lists shorter and longer than the keys, blocks of rows, groups, lengths, keys that are always kept, storage types.</summary>
public sealed class SelectedAttentionCases : IOperationCases<SelectedAttentionProblem>
{
    public static Operation<SelectedAttentionProblem> Operation => KernelEngine.SparseAttention.SelectedOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "q=3 k=1 m=8 l=1 d=8", "q=40 k=64 m=8 l=17 d=64", "q=20 k=17 m=8 l=40 d=16", "q=100 m=8 l=12 causal d=64", "q=67 m=8 l=200 causal d=32 earliest",
        "q=300 k=600 m=8 l=64 causal recent=1 d=8", "q=520 k=70 m=3 l=20 d=8", "q=20 k=9000 m=8 l=90 sinks=4 recent=8 d=8",
        "h=4 kv=2 q=33 k=65 m=8 l=20 d=16", "h=4 kv=2 q=33 k=65 m=8 l=20 causal grouped d=64", "h=6 kv=1 q=20 k=65 m=5 l=20 grouped earliest d=24 dv=40",
        "b=3 h=2 q=30 k=100 m=8 l=25 lengths causal recent=1 d=16", "b=2 h=4 kv=2 q=30 k=100 m=10 l=25 lengths grouped d=96",
        "h=4 kv=2 q=65 k=129 m=8 l=40 d=64 f16", "h=4 kv=2 q=65 k=129 m=8 l=40 grouped columns=u16 d=64 bf16", "q=20 k=1100 m=16 l=700 causal columns=u16 d=128",
        "q=17 k=51 m=8 l=21 d=64 scale=-0.25", "h=2 q=33 k=65 m=8 l=30 causal d=16 softcap=2 scale=0.5",
        // Nothing to compute.
        "q=5 k=0 m=8 l=4 d=8", "q=5 k=9 m=8 l=0 d=8", "b=0 q=5 m=8 l=4 d=8", "q=0 k=9 m=8 l=4 d=8",
    ];
}
