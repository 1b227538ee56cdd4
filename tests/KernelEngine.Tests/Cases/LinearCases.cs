namespace KernelEngine.Tests.Cases;

/// <summary>Matrix-vector and matrix-matrix products around every edge of a register tile or a panel.</summary>
public sealed class LinearCases : IOperationCases<LinearProblem>
{
    public static Operation<LinearProblem> Operation => KernelEngine.Linear.ForwardOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        // Matrix-vector.
        "m=1 n=1 k=17", "m=1 n=3 k=1", "m=1 n=257 k=64", "m=1 n=1000 k=515", "m=1 n=63 k=1027 w=bf16", "m=1 n=130 k=96 w=f16",
        // A few rows.
        "m=2 n=33 k=40", "m=3 n=65 k=128 w=bf16", "m=4 n=129 k=31", "m=5 n=31 k=257 w=f16", "m=6 n=16 k=8", "m=8 n=7 k=300",
        // Many rows.
        "m=15 n=17 k=33", "m=16 n=48 k=64", "m=31 n=33 k=1", "m=64 n=64 k=64", "m=113 n=203 k=65", "m=97 n=129 k=513",
        "m=257 n=65 k=100 w=bf16", "m=239 n=1 k=77", "m=33 n=300 k=259 w=f16", "m=129 n=31 k=80 w=bf16",
        // Longer than a depth panel and wider than a column panel.
        "m=9 n=37 k=2113", "m=13 n=2100 k=19", "m=600 n=20 k=24",
        // Factors that lie transposed.
        "m=1 n=17 k=33 transposedweight", "m=5 n=1 k=9 w=bf16 transposedweight", "m=64 n=128 k=32 w=f16 transposedweight",
        "m=7 n=1 k=3 transposedinput", "m=97 n=67 k=513 transposedinput", "m=103 n=130 k=9 w=bf16 transposedinput transposedweight",
        "m=13 n=1050 k=529 transposedinput transposedweight",
        // Nothing to add, nothing to compute.
        "m=5 n=9 k=0", "m=0 n=9 k=4", "m=9 n=0 k=4", "m=5 n=9 k=0 transposedinput transposedweight", "m=0 n=9 k=4 transposedinput",
    ];
}
