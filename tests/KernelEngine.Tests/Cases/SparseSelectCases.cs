namespace KernelEngine.Tests.Cases;

/// <summary>
/// Keys around words of 32, 64 and 512 bits, lists shorter and longer than the keys, one code a row and many, groups, lengths, keys that
/// are always kept. Random codes agree one time in sixteen, so that most keys are equal.
/// </summary>
public sealed class SparseSelectCases : IOperationCases<SparseSelectProblem>
{
    public static Operation<SparseSelectProblem> Operation => KernelEngine.SparseAttention.SelectOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "q=3 k=1 m=8 l=1", "q=3 k=31 m=8 l=5", "q=3 k=32 m=8 l=5 earliest", "q=3 k=33 m=8 l=5", "q=5 k=63 m=8 l=20", "q=5 k=64 m=8 l=64",
        "q=5 k=65 m=8 l=64", "q=4 k=511 m=8 l=100", "q=4 k=512 m=8 l=100 earliest", "q=4 k=513 m=8 l=100", "q=2 k=4097 m=8 l=700",
        "q=100 m=8 l=1 causal", "q=100 m=8 l=12 causal", "q=100 m=8 l=12 causal earliest", "q=100 m=8 l=100 causal", "q=67 m=8 l=200 causal",
        "q=150 m=8 l=30 causal recent=1", "q=90 m=8 l=20 causal sinks=3 recent=17", "q=90 m=8 l=20 causal sinks=20 earliest", "q=33 k=70 m=8 l=20 sinks=2 recent=5",
        "q=20 k=300 m=8 l=31 causal", "q=80 k=30 m=8 l=7 causal recent=2", "q=9 k=1100 m=8 l=1024 causal sinks=4 recent=8",
        "q=60 m=1 l=9 causal", "q=60 m=2 l=9 causal", "q=60 m=3 l=9", "q=60 m=4 l=9", "q=60 m=7 l=9 causal", "q=60 m=9 l=9", "q=60 m=10 l=9 causal recent=1",
        "q=60 m=16 l=9 causal", "q=40 m=17 l=9", "q=40 m=31 l=9 earliest", "q=40 m=32 l=9 causal",
        "b=2 h=3 q=50 m=8 l=8 causal", "h=6 kv=3 q=50 m=8 l=8 causal", "h=6 kv=3 q=50 m=8 l=8 causal grouped", "h=4 kv=1 q=30 k=140 m=16 l=24 grouped earliest",
        "h=15 kv=1 q=8 k=200 m=32 l=24 grouped causal", "h=3 kv=1 q=40 m=5 l=8 grouped causal sinks=1 recent=1",
        "b=4 h=2 q=30 k=100 m=8 l=25 lengths", "b=4 h=2 q=30 k=100 m=10 l=25 lengths causal recent=1", "b=3 h=4 kv=2 q=30 k=100 m=8 l=25 lengths causal grouped",
        "q=30 k=513 m=8 l=100 causal columns=u16", "q=9 k=1100 m=8 l=1024 sinks=4 recent=8 columns=u16", "h=6 kv=3 q=50 m=9 l=60 causal grouped columns=u16",
        "q=2 k=65536 m=8 l=3000 columns=u16",
        // Nothing to choose from, or nothing to choose.
        "q=5 k=0 m=8 l=4", "q=5 k=9 m=8 l=0", "b=0 q=5 m=8 l=4", "h=0 kv=0 q=5 m=8 l=4",
    ];
}
