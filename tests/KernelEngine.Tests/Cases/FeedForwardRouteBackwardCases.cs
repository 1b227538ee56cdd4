namespace KernelEngine.Tests.Cases;

/// <summary>The cases of the router, with gradients of the gates, of the balance loss, of both and of neither.</summary>
public sealed class FeedForwardRouteBackwardCases : IOperationCases<FeedForwardRouteBackwardProblem>
{
    public static Operation<FeedForwardRouteBackwardProblem> Operation => KernelEngine.FeedForward.RouteBackwardOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "t=1 d=33 g=4 active=2 gradgates", "t=7 d=64 g=4 active=2 bias", "t=257 d=33 g=4 active=2 bias balance=0.01 gradgates",
        "t=257 d=130 g=7 active=1 balance=0.5", "t=130 d=96 g=33 active=6 bias balance=0.01 gradgates", "t=64 d=100 g=200 active=17 gradgates",
        "t=65 d=259 g=5 active=5 bias balance=1 bf16 gradgates", "t=33 d=66 g=9 active=4 balance=0.01 f16 gradgates",
        "t=0 d=16 g=4 active=2 bias balance=0.01 gradgates", "t=5 d=0 g=4 active=2 bias balance=0.01 gradgates",
    ];
}
