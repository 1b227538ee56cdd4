namespace KernelEngine.Tests.Cases;

/// <summary>Rows around every vector width and many rows.</summary>
public sealed class SwiGluCases : IOperationCases<SwiGluProblem>
{
    public static Operation<SwiGluProblem> Operation => KernelEngine.Layers.SwiGluOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=1", "n=2", "n=3", "n=4", "n=5", "n=7", "n=8", "n=9", "n=15", "n=16", "n=17", "n=31", "n=33", "n=63", "n=65",
        "m=5 n=127", "m=3 n=257", "m=65 n=259", "m=130 n=130", "m=1 n=5461", "m=0 n=16", "m=4 n=0",
    ];
}
