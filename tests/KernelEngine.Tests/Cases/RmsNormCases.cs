namespace KernelEngine.Tests.Cases;

/// <summary>Rows around every vector width, many rows, other epsilons.</summary>
public sealed class RmsNormCases : IOperationCases<RmsNormProblem>
{
    public static Operation<RmsNormProblem> Operation => KernelEngine.Layers.RmsNormOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=1", "n=2", "n=3", "n=4", "n=5", "n=7", "n=8", "n=9", "n=15", "n=16", "n=17", "n=31", "n=33", "n=63", "n=64", "n=65",
        "m=5 n=127", "m=3 n=257 eps=1E-06", "m=2 n=768", "m=65 n=259", "m=130 n=130 eps=0.5", "m=1 n=4097", "m=4 n=1 eps=0",
        "m=0 n=16", "m=4 n=0",
    ];
}
