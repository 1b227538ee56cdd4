namespace KernelEngine.Tests.Cases;

/// <summary>The cases of the forward pass, with and without kept units.</summary>
public sealed class FeedForwardBackwardCases : IOperationCases<FeedForwardBackwardProblem>
{
    public static Operation<FeedForwardBackwardProblem> Operation => KernelEngine.FeedForward.BackwardOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        .. FeedForwardCases.Problems, "t=257 d=33 f=20 g=4 active=2 gating=post upbias downbias units", "t=100 d=96 f=128 g=4 active=3 act=swiglu gating=post units",
        "t=65 d=130 f=198 act=relu downbias units", "t=70 d=100 f=132 g=4 active=2 act=swiglu gating=post units bf16",
        "t=1100 d=8 f=12 g=2 active=1 gating=post upbias units", "t=70 d=100 f=132 g=4 active=2 gating=post units upbias f16 w=bf16",
    ];
}
