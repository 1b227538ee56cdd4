namespace KernelEngine.Tests.Cases;

/// <summary>Gradients of projections around the edges of tiles and blocks.</summary>
public sealed class LinearBackwardCases : IOperationCases<LinearBackwardProblem>
{
    public static Operation<LinearBackwardProblem> Operation => KernelEngine.Linear.BackwardOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "m=1 n=33 k=17", "m=100 n=6 k=64", "m=64 n=129 k=31 w=bf16", "m=530 n=13 k=40", "m=9 n=70 k=1 w=f16", "m=5 n=9 k=0",
    ];
}
