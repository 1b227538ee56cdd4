namespace KernelEngine.Tests.Cases;

/// <summary>One token and many, one block and all, sizes around vector widths, all storage types.</summary>
public sealed class FeedForwardRouteCases : IOperationCases<FeedForwardRouteProblem>
{
    public static Operation<FeedForwardRouteProblem> Operation => KernelEngine.FeedForward.RouteOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "t=1 d=1 g=1 active=1", "t=1 d=33 g=4 active=2", "t=7 d=64 g=4 active=2 bias", "t=257 d=33 g=4 active=2 bias balance=0.01",
        "t=257 d=130 g=7 active=1 balance=0.5", "t=130 d=96 g=33 active=6 bias balance=0.01", "t=64 d=100 g=200 active=17",
        "t=65 d=259 g=5 active=5 bias balance=1 bf16", "t=33 d=66 g=9 active=4 balance=0.01 f16",
        // Nothing to route, and nothing to route by: every token uses the first blocks.
        "t=0 d=16 g=4 active=2 bias balance=0.01", "t=5 d=0 g=4 active=2 balance=0.01", "t=5 d=0 g=4 active=3 bias",
    ];
}
