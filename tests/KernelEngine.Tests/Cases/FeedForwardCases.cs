namespace KernelEngine.Tests.Cases;

/// <summary>
/// Tokens and units around tiles and vectors, one block, all blocks and some, every activation and gating, biases, all storage types
/// and mixtures of them.
/// </summary>
public sealed class FeedForwardCases : IOperationCases<FeedForwardProblem>
{
    public static Operation<FeedForwardProblem> Operation => KernelEngine.FeedForward.ForwardOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "t=1 d=33 f=20 g=4 active=2 gating=post", "t=7 d=33 f=20 g=4 active=2 act=relu upbias downbias", "t=257 d=33 f=20 g=4 active=2 act=swiglu",
        "t=257 d=33 f=20 g=4 active=1 gating=post upbias", "t=130 d=64 f=192 g=3 active=2 act=relu gating=post downbias",
        "t=100 d=96 f=128 act=relu", "t=100 d=96 f=128 g=4 act=swiglu gating=post", "t=65 d=130 f=198 g=2 active=1 upbias downbias",
        "t=30 d=20 f=2600 g=2 active=1 act=relu gating=post upbias", "t=20 d=1200 f=66 g=2 active=1 act=swiglu downbias",
        "t=400 d=24 f=40 g=2 active=1 act=relu gating=post", "t=40 d=17 f=480 g=96 active=5 gating=post upbias",
        "t=70 d=100 f=132 g=4 active=2 gating=post upbias downbias bf16", "t=70 d=100 f=132 g=4 active=2 act=swiglu gating=post downbias f16",
        "t=33 d=50 f=60 g=2 active=1 act=relu upbias downbias w=bf16", "t=33 d=50 f=60 g=3 active=2 act=relu gating=post bf16 w=f32",
        "t=33 d=50 f=60 g=3 active=2 f16 w=bf16", "t=0 d=16 f=8 g=2 active=1 gating=post upbias downbias",
        "t=5 d=16 f=0 g=4 active=2 downbias", "t=5 d=0 f=16 g=4 active=2 upbias",
    ];
}
