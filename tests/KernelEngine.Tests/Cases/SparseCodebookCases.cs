namespace KernelEngine.Tests.Cases;

/// <summary>Rows around vector widths and tiles, sub-vectors that fill their row and that do not, with and without a gradient of the rows, all storage types.</summary>
public sealed class SparseCodebookCases : IOperationCases<SparseCodebookProblem>
{
    public static Operation<SparseCodebookProblem> Operation => KernelEngine.SparseAttention.CodebookOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=1 d=8 dc=8 rowgrad", "n=3 d=5 dc=2 rowgrad", "n=4 d=64 dc=8", "n=7 h=3 d=64 dc=8 rowgrad", "n=8 d=16 dc=4 rowgrad", "n=15 h=2 d=63 dc=8 rowgrad",
        "n=16 d=128 dc=8", "b=2 n=17 h=2 d=80 dc=8 rowgrad", "n=31 d=33 dc=8 rowgrad", "n=32 d=32 dc=8 rowgrad", "n=33 d=96 dc=24 rowgrad",
        "n=35 h=2 d=100 dc=32", "n=18 d=64 dc=64 rowgrad", "n=40 d=65 dc=64 rowgrad", "n=20 d=32 dc=1 rowgrad", "n=21 h=2 d=256 dc=8",
        "n=300 h=2 d=16 dc=8 rowgrad", "b=3 n=33 h=2 d=24 dc=8 bf16 rowgrad", "b=2 n=18 h=2 d=80 dc=8 f16", "n=37 d=66 dc=8 f16 rowgrad",
        "b=0 n=4 d=8 dc=8 rowgrad", "n=4 h=0 d=8 dc=4",
    ];
}
