using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.FeedForward;

public sealed class FeedForwardBackwardTests : OperationTests<FeedForwardBackwardCases, FeedForwardBackwardProblem>;
