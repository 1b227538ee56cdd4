namespace KernelEngine.Tests.Cases;

/// <summary>Rows around vector widths, sub-vectors that fill their row and that do not, one word of codes and four, all storage types.</summary>
public sealed class SparseEncodeCases : IOperationCases<SparseEncodeProblem>
{
    public static Operation<SparseEncodeProblem> Operation => KernelEngine.SparseAttention.EncodeOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=1 d=8 dc=8", "n=3 d=5 dc=2", "n=4 d=64 dc=8", "n=5 d=64 dc=8 l2", "n=7 h=3 d=64 dc=8", "n=8 d=16 dc=4", "n=9 d=17 dc=4 l2", "n=15 h=2 d=63 dc=8",
        "n=16 d=128 dc=8", "n=17 d=128 dc=8 l2", "b=2 n=31 h=2 d=80 dc=8", "n=33 d=96 dc=24", "n=35 h=2 d=100 dc=32 l2", "n=18 d=64 dc=64",
        "n=40 d=65 dc=64", "n=20 d=32 dc=1", "n=21 h=2 d=256 dc=8", "n=130 h=2 d=64 dc=8", "b=3 n=33 h=2 d=64 dc=8 bf16",
        "b=2 n=18 h=2 d=80 dc=8 f16", "n=37 d=66 dc=8 bf16 l2", "n=19 h=3 d=129 dc=12 f16 l2", "b=0 n=4 d=8 dc=8", "n=4 h=0 d=8 dc=4",
    ];
}
